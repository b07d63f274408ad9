"""What a member does to their account, for the pages and the API alike."""

from __future__ import annotations

from axes.models import AccessAttempt
from django.db import transaction

from accounts import mail
from accounts.errors import TooManyTokensError
from accounts.models import ApiToken, User

TOKENS_PER_MEMBER = 20


def issue_token(user: User, name: str) -> tuple[ApiToken, str]:
    """A new API token and its secret, which nobody can read again. Raises `TooManyTokensError`."""
    if user.api_tokens.count() >= TOKENS_PER_MEMBER:
        raise TooManyTokensError(
            f"You already have {TOKENS_PER_MEMBER} API tokens: revoke one that you no longer need first."
        )
    return ApiToken.objects.issue(user, name)


def change_email(user: User, email: str) -> None:
    """Give the account a new address, and tell the old one, in case it was not the member who did this."""
    old = user.email
    user.email = User.objects.normalize_email(email)
    user.save(update_fields=["email"])
    mail.send("email_changed", old, {"user_name": user.user_name, "email": user.email})


def forget_failed_sign_ins(user: User) -> None:
    AccessAttempt.objects.filter(username=user.user_name).delete()


@transaction.atomic
def delete_account(user: User) -> None:
    """Remove the member and all that is theirs. Apps that keep files remove them when the rows are gone."""
    forget_failed_sign_ins(user)
    user.delete()
