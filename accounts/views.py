"""Sign-up, sign-in, passwords and the profile."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login, logout, update_session_auth_hash
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.views import PasswordResetConfirmView
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render, resolve_url
from django.urls import reverse
from django.utils.cache import patch_vary_headers
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_GET, require_http_methods, require_POST, require_safe
from django_htmx.http import HttpResponseClientRedirect, trigger_client_event

from accounts import services
from accounts.errors import AccountError
from accounts.forms import (
    DeleteAccountForm,
    EmailForm,
    NewPasswordForm,
    PasswordResetForm,
    RegisterForm,
    SignInForm,
    TokenForm,
)
from accounts.limits import FAILED_SIGN_IN, PASSWORD_CHECK, PASSWORD_RESET, SIGN_UP, Limit, client_address
from accounts.quota import usage
from accounts.requests import MemberRequest, VisitorRequest

BACKEND = "accounts.backends.NameOrEmailBackend"


def next_url(request: HttpRequest) -> str:
    """Where to go after signing in: the page asked for if it is one of ours, else the gallery."""
    wanted = request.POST.get("next") or request.GET.get("next") or ""
    ours = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if ours else resolve_url(settings.LOGIN_REDIRECT_URL)


def too_many(request: HttpRequest, limit: Limit, what: str, *, offer_reset: bool = False) -> HttpResponse:
    """`what` is a sentence that says what was tried too often."""
    context = {"text": f"{what} Wait {limit.wait}, then try again.", "offer_reset": offer_reset}
    response = render(request, "accounts/locked.html", context, status=429)
    response["Retry-After"] = str(limit.seconds)
    return response


def sign_in_locked(request: HttpRequest, *_: object) -> HttpResponse:
    """What django-axes answers with once there were too many failed sign-ins."""
    what = "Too many sign-ins failed, so this one was not even tried."
    return too_many(request, FAILED_SIGN_IN, what, offer_reset=True)


@login_not_required
@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def register(request: VisitorRequest) -> HttpResponse:
    if request.user.is_authenticated:
        return redirect(next_url(request))
    form = RegisterForm(request.POST if request.method == "POST" else None)
    if request.method == "POST":
        if not SIGN_UP.spend(client_address(request)):
            return too_many(request, SIGN_UP, "Too many accounts were made from your network.")
        user = form.create() if form.is_valid() else None
        if user is not None:
            login(request, user, backend=BACKEND)
            messages.success(request, f"Welcome, {user.user_name}. This is your gallery.")
            return redirect(next_url(request))
    return render(request, "accounts/register.html", {"form": form, "next": next_url(request)})


@login_not_required
@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in(request: VisitorRequest) -> HttpResponse:
    if request.htmx and not request.htmx.boosted:
        return _sign_in_on_a_whole_page(request)
    if request.user.is_authenticated:
        return redirect(next_url(request))
    form = SignInForm(request, data=request.POST if request.method == "POST" else None)
    if request.method == "POST":
        address = client_address(request)
        if FAILED_SIGN_IN.is_spent(address):
            return sign_in_locked(request)
        if form.is_valid():
            login(request, form.get_user())
            return redirect(next_url(request))
        FAILED_SIGN_IN.spend(address)
    return render(request, "accounts/login.html", {"form": form, "next": next_url(request)})


def _sign_in_on_a_whole_page(request: VisitorRequest) -> HttpResponse:
    """A fragment was asked for after the session ended: the form must not land in the middle of a page."""
    back = request.htmx.current_url_abs_path or resolve_url(settings.LOGIN_REDIRECT_URL)
    return HttpResponseClientRedirect(f"{reverse('accounts:login')}?{urlencode({'next': back})}")


@login_not_required
@never_cache
@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    messages.info(request, "You are signed out.")
    return redirect(settings.LOGOUT_REDIRECT_URL)


@sensitive_post_parameters("old_password", "new_password1", "new_password2")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def password_change(request: MemberRequest) -> HttpResponse:
    form = PasswordChangeForm(request.user, request.POST if request.method == "POST" else None)
    if request.method == "POST":
        if not PASSWORD_CHECK.spend(request.user.pk):
            return too_many(request, PASSWORD_CHECK, "A wrong password was given too often.")
        if form.is_valid():
            PASSWORD_CHECK.forgive(request.user.pk)
            update_session_auth_hash(request, form.save())
            messages.success(request, "Your password is changed. Everywhere else you are signed out now.")
            return redirect("accounts:profile")
        if "old_password" not in form.errors:
            PASSWORD_CHECK.forgive(request.user.pk)
    return render(request, "accounts/password_change.html", {"form": form})


@login_not_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def password_reset(request: VisitorRequest) -> HttpResponse:
    form = PasswordResetForm(request.POST if request.method == "POST" else None)
    if request.method == "POST":
        if not PASSWORD_RESET.spend(client_address(request)):
            return too_many(request, PASSWORD_RESET, "Too many links were asked for from your network.")
        if form.is_valid():
            form.save(request=request, use_https=request.is_secure())
            return redirect("accounts:password_reset_done")
    return render(request, "accounts/password_reset.html", {"form": form})


@login_not_required
@require_safe
def password_reset_done(request: HttpRequest) -> HttpResponse:
    context = {
        "hours": settings.PASSWORD_RESET_TIMEOUT // 3600,
        "to_console": settings.EMAIL_BACKEND.endswith("console.EmailBackend"),
    }
    return render(request, "accounts/password_reset_done.html", context)


@login_not_required
def password_reset_confirm(request: HttpRequest, uidb64: str, token: str) -> HttpResponseBase:
    """Django's view keeps the token out of the address, so that it is in no referrer and no history."""
    view = PasswordResetConfirmView.as_view(
        template_name="accounts/password_reset_confirm.html",
        form_class=NewPasswordForm,
        success_url=reverse("accounts:password_reset_complete"),
    )
    return view(request, uidb64=uidb64, token=token)


@login_not_required
@require_safe
def password_reset_complete(request: HttpRequest) -> HttpResponse:
    return render(request, "accounts/password_reset_complete.html")


def _profile_context(request: MemberRequest, **extra: Any) -> dict[str, Any]:
    return {
        "usage": usage(request.user),
        "tokens": request.user.api_tokens.all(),
        "token_form": TokenForm(),
        "email_form": EmailForm(request.user),
        **extra,
    }


@never_cache
@require_GET
def profile(request: MemberRequest) -> HttpResponse:
    return render(request, "accounts/profile.html", _profile_context(request))


@sensitive_post_parameters("password")
@never_cache
@require_POST
def email_change(request: MemberRequest) -> HttpResponse:
    form = EmailForm(request.user, request.POST)
    if not form.is_valid():
        return render(request, "accounts/profile.html", _profile_context(request, email_form=form))
    services.change_email(request.user, form.cleaned_data["email"])
    messages.success(request, f"Your e-mail address is now {request.user.email}.")
    return redirect("accounts:profile")


@never_cache
@require_POST
def token_create(request: MemberRequest) -> HttpResponse:
    """The one answer that holds the secret. It is kept nowhere, so no redirect could show it."""
    form = TokenForm(request.POST)
    if form.is_valid():
        try:
            token, secret = services.issue_token(request.user, form.cleaned_data["name"])
        except AccountError as error:
            form.add_error("name", str(error))
        else:
            return _tokens(request, new_token=token, secret=secret)
    return _tokens(request, token_form=form)


@never_cache
@require_POST
def token_delete(request: MemberRequest, pk: UUID) -> HttpResponse:
    token = get_object_or_404(request.user.api_tokens, pk=pk)
    token.delete()
    text = f"The token “{token.name}” is revoked: programs that use it are locked out."
    if request.htmx:
        return trigger_client_event(_tokens(request), "toast", {"level": "success", "text": text})
    messages.success(request, text)
    return redirect("accounts:profile")


def _tokens(request: MemberRequest, **extra: Any) -> HttpResponse:
    form = extra.get("token_form")
    status = 422 if request.htmx and form is not None else 200
    template = "accounts/_tokens.html" if request.htmx else "accounts/profile.html"
    response = render(request, template, _profile_context(request, **extra), status=status)
    patch_vary_headers(response, ["HX-Request"])
    return response


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def delete_account(request: MemberRequest) -> HttpResponse:
    form = DeleteAccountForm(request.user, request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        user = form.user
        logout(request)
        services.delete_account(user)
        messages.success(request, "Your account is deleted, with everything that was in it.")
        return redirect("landing")
    return render(request, "accounts/delete_account.html", {"form": form})
