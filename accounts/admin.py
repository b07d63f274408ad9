"""Members in the admin: find, suspend, reactivate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.forms import AdminUserCreationForm, UserChangeForm
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.forms import ModeratorSignInForm, UniqueInAnyCase
from accounts.models import ApiToken, User

if TYPE_CHECKING:  # these classes cannot be written with their type at run time
    _CreationForm = AdminUserCreationForm[User]
    _ChangeForm = UserChangeForm[User]
else:
    _CreationForm = AdminUserCreationForm
    _ChangeForm = UserChangeForm

admin.site.site_header = "PixelLift moderation"
admin.site.site_title = "PixelLift"
admin.site.index_title = "What needs looking after"
admin.site.login_form = ModeratorSignInForm


class NewUserForm(UniqueInAnyCase, _CreationForm):
    class Meta:
        model = User
        fields = ["user_name", "email"]


class ChangeUserForm(UniqueInAnyCase, _ChangeForm):
    class Meta:
        model = User
        fields = "__all__"


class ApiTokenInline(admin.TabularInline[ApiToken, User]):
    model = ApiToken
    fields = ("name", "hint", "created_at", "last_used_at")
    readonly_fields = fields
    extra = 0
    verbose_name_plural = "API tokens"

    def has_add_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(User)
class UserAdmin(DjangoUserAdmin[User]):
    form = ChangeUserForm
    add_form = NewUserForm
    list_display = ["user_name", "email", "is_active", "is_staff", "date_joined", "last_login"]
    list_filter = ["is_active", "is_staff", "date_joined"]
    search_fields = ["user_name", "email"]
    ordering = ["-date_joined"]
    date_hierarchy = "date_joined"
    list_per_page = 50
    readonly_fields = ["date_joined", "last_login"]
    inlines = [ApiTokenInline]
    actions = ["suspend", "reactivate"]
    fieldsets = [
        (None, {"fields": ["user_name", "email", "password"]}),
        ("Storage", {"fields": ["quota_bytes"]}),
        ("Rights", {"fields": ["is_active", "is_staff", "is_superuser", "groups", "user_permissions"]}),
        ("Dates", {"fields": ["date_joined", "last_login"]}),
    ]
    add_fieldsets = [
        (None, {"fields": ["user_name", "email", "usable_password", "password1", "password2"]}),
    ]

    def get_inlines(self, request: HttpRequest, obj: User | None) -> list[Any]:
        return [] if obj is None else list(self.inlines)

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> list[Any]:
        """Only a superuser hands out rights: otherwise a moderator could make one of themselves."""
        fields = list(super().get_readonly_fields(request, obj))
        if not _is_superuser(request):
            fields += ["is_staff", "is_superuser", "groups", "user_permissions"]
        return fields

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_change_permission(request, obj) and self._may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return super().has_delete_permission(request, obj) and self._may_touch(request, obj)

    @staticmethod
    def _may_touch(request: HttpRequest, obj: User | None) -> bool:
        return obj is None or not obj.is_superuser or _is_superuser(request)

    @admin.action(description="Suspend: sign out and lock out", permissions=["change"])
    def suspend(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        """Sessions and tokens of an inactive member are refused from the next request on."""
        others = self._touchable(request, queryset).exclude(user_name=request.user.get_username())
        count = others.filter(is_active=True).update(is_active=False)
        self.message_user(request, f"{count} suspended. You cannot suspend yourself.", messages.SUCCESS)

    @admin.action(description="Reactivate", permissions=["change"])
    def reactivate(self, request: HttpRequest, queryset: QuerySet[User]) -> None:
        count = self._touchable(request, queryset).filter(is_active=False).update(is_active=True)
        self.message_user(request, f"{count} may sign in again.", messages.SUCCESS)

    @staticmethod
    def _touchable(request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        return queryset if _is_superuser(request) else queryset.filter(is_superuser=False)


def _is_superuser(request: HttpRequest) -> bool:
    return isinstance(request.user, User) and request.user.is_superuser
