"""What can be wrong with a wish for work. Each message is a full sentence that a member can be shown."""

from __future__ import annotations


class TransformError(Exception):
    """The root: something about the request, not about the program."""


class InvalidParams(TransformError):
    """A parameter is missing, of the wrong type or out of range. `field` names it."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class QuotaReached(TransformError):
    """The member has as much outstanding work, or as many files, as they may."""


class NotReady(TransformError):
    """The picture is not in a state in which this can be done."""


class KeyTaken(TransformError):
    """Under this idempotency key something else was asked for."""


class GeneratorMissing(TransformError):
    """The generator (or upscaler) that is needed is not installed."""


class PreviewsAway(TransformError):
    """Nobody draws previews at the moment, or not soon enough. Asking again shortly helps."""


class Superseded(Exception):
    """The same open editor has asked for a newer preview."""


class JobFailed(TransformError):
    """A job cannot succeed, for a reason that is known: trying it again would change nothing."""


class Interrupted(Exception):
    """The root of the reasons to leave an operation early."""


class Canceled(Interrupted):
    """The member canceled the job."""


class ShuttingDown(Interrupted):
    """This process is stopping: the job goes back to the queue."""


class LeaseLost(Interrupted):
    """Another worker has the job now, or it is over: nothing may be written any more."""
