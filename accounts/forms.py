"""What people fill in, and what it is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm, SetPasswordForm
from django.contrib.auth.forms import PasswordResetForm as DjangoPasswordResetForm
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts import mail, services
from accounts.limits import MAILS_TO_ONE_ADDRESS, PASSWORD_CHECK
from accounts.models import EMAIL_TAKEN, NAME_TAKEN, ApiToken, User

if TYPE_CHECKING:  # this class cannot be written with its type at run time
    _SetPasswordForm = SetPasswordForm[User]
else:
    _SetPasswordForm = SetPasswordForm

LONGEST_ADDRESS = 254
DO_NOT_BELONG_TOGETHER = (
    "This name and this password do not belong together. Check both: in the password, capital letters count."
)


class PasswordField(forms.CharField):
    """A password, taken as it is typed."""

    def __init__(self, *, autocomplete: str = "current-password", **options: Any) -> None:
        widget = forms.PasswordInput(attrs={"autocomplete": autocomplete, "data-password": ""})
        super().__init__(strip=False, widget=widget, **options)


class UniqueInAnyCase(forms.ModelForm[User]):
    """Says it beside the field when a name or an address is taken, however it is written."""

    def clean_user_name(self) -> str:
        name = str(self.cleaned_data["user_name"])
        if self._others().filter(user_name__iexact=name).exists():
            raise ValidationError(NAME_TAKEN, code="unique")
        return name

    def clean_email(self) -> str:
        email = User.objects.normalize_email(self.cleaned_data["email"])
        if self._others().filter(email__iexact=email).exists():
            raise ValidationError(EMAIL_TAKEN, code="unique")
        return email

    def _others(self) -> Any:
        return User.objects.exclude(pk=self.instance.pk)


class RegisterForm(UniqueInAnyCase):
    password = PasswordField(
        autocomplete="new-password",
        help_text="At least 10 characters. Not only digits, no common password, and not like your name.",
    )

    class Meta:
        model = User
        fields = ["user_name", "email"]
        labels = {"user_name": "User name", "email": "E-mail address"}
        help_texts = {
            "user_name": "3 to 30 letters, digits, dots, hyphens and underscores.",
            "email": "Only to send you a link when you forget your password.",
        }
        widgets = {
            "user_name": forms.TextInput(
                attrs={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"}
            ),
            "email": forms.EmailInput(attrs={"autocomplete": "email"}),
        }

    def _post_clean(self) -> None:
        super()._post_clean()  # type: ignore[misc]  # Django's own hook, which its stubs leave out
        password = self.cleaned_data.get("password")
        if password:
            try:
                validate_password(password, self.instance)
            except ValidationError as error:
                self.add_error("password", error)

    def create(self) -> User | None:
        """The new member, or None with an error in the form when somebody took the name a moment ago."""
        data = self.cleaned_data
        try:
            with transaction.atomic():
                return User.objects.create_user(data["user_name"], data["email"], data["password"])
        except IntegrityError:
            self.full_clean()
            if self.is_valid():
                raise
            return None


def _take_either(form: AuthenticationForm, refusal: str) -> None:
    """The first field of a sign-in form takes a name or an address, so it must be long enough for both."""
    field = form.fields["username"]
    field.label = "User name or e-mail"
    field.widget.attrs |= {"maxlength": LONGEST_ADDRESS, "spellcheck": "false"}
    form.error_messages = {**form.error_messages, "invalid_login": refusal, "inactive": refusal}


class SignInForm(AuthenticationForm):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        _take_either(self, DO_NOT_BELONG_TOGETHER)
        self.fields["password"].widget.attrs["data-password"] = ""


class ModeratorSignInForm(AdminAuthenticationForm):
    """The admin's own form."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        _take_either(self, DO_NOT_BELONG_TOGETHER + " Only moderators can sign in here.")


class PasswordResetForm(DjangoPasswordResetForm):
    """Asks for an address. Whether there is an account, only its mailbox learns."""

    email = forms.EmailField(
        label="E-mail address",
        max_length=LONGEST_ADDRESS,
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )

    def send_mail(self, *args: Any, **options: Any) -> None:
        context, address = args[2], args[4]
        if MAILS_TO_ONE_ADDRESS.spend(address.lower()):
            hours = settings.PASSWORD_RESET_TIMEOUT // 3600
            mail.send("password_reset", address, {**context, "hours": hours})


class NewPasswordForm(_SetPasswordForm):
    """Sets a password after the link in a mail was followed. Its holder need not wait out a lock."""

    def save(self, commit: bool = True) -> User:
        user = super().save(commit)
        services.forget_failed_sign_ins(user)
        return user


class _ConfirmedForm(forms.Form):
    """A form that asks for the password again: an open browser is not yet the member."""

    password = PasswordField(label="Your password")

    def __init__(self, user: User, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.user = user

    def clean_password(self) -> str:
        password = str(self.cleaned_data["password"])
        if not PASSWORD_CHECK.spend(self.user.pk):
            raise ValidationError(f"This was tried too often. Wait {PASSWORD_CHECK.wait}, then try again.")
        if not self.user.check_password(password):
            raise ValidationError("This is not your password: try again.")
        PASSWORD_CHECK.forgive(self.user.pk)
        return password


class EmailForm(_ConfirmedForm):
    email = forms.EmailField(
        label="New e-mail address",
        max_length=LONGEST_ADDRESS,
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )
    field_order = ["email", "password"]

    def clean(self) -> dict[str, Any]:
        """Looks for the address only once the password was right: a thief learns nothing about others."""
        data = super().clean() or {}
        email = User.objects.normalize_email(data.get("email"))
        if not self.errors and User.objects.exclude(pk=self.user.pk).filter(email__iexact=email).exists():
            self.add_error("email", "Another account uses this e-mail address: choose another.")
        return data | {"email": email}


class DeleteAccountForm(_ConfirmedForm):
    pass


class TokenForm(forms.ModelForm[ApiToken]):
    class Meta:
        model = ApiToken
        fields = ["name"]
        labels = {"name": "What is it for?"}
        widgets = {"name": forms.TextInput(attrs={"placeholder": "backup script", "autocomplete": "off"})}
