"""What can go wrong in the engine. Each message is a full sentence that a user can be shown."""


class GanworksError(Exception):
    """The root of all errors that the engine raises on purpose."""


class CheckpointError(GanworksError):
    """A file of weights (or of a projection) is damaged, lies about itself, or is of another kind."""


class HeaderMissing(CheckpointError):
    """A safetensors file has no header of ours: it is somebody else's."""


class NotFound(GanworksError):
    """Something was asked for by a name that the library does not have."""


class GeneratorNotFound(NotFound):
    """No generator of that name is in the library's folders."""


class EncoderNotFound(NotFound):
    """A generator has no encoder."""


class UpscalerNotFound(NotFound):
    """No upscaler of that name is in the library's folders."""


class BasisNotFound(NotFound):
    """The principal components of a generator have not been computed yet."""


class BasisMismatch(GanworksError):
    """Principal components, a latent or a projection belong to another generator."""


class EncoderMismatch(GanworksError):
    """An encoder belongs to another generator."""


class InvalidInput(GanworksError, ValueError):
    """An argument has the wrong shape, range or name."""


class DeviceNotFound(GanworksError):
    """A device was asked for that this machine does not have."""


class OutOfMemory(GanworksError):
    """The device has too little memory for what was asked."""


class Stopped(GanworksError):
    """The caller's `should_stop` asked to stop, and there is no partial result to return."""
