"""What can go wrong in this app. The message is a full sentence for whoever asked."""


class AccountError(Exception):
    """Refused, and this is why."""


class TooManyTokensError(AccountError):
    """The member has as many API tokens as one may have."""
