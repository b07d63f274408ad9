"""ganworks: generators, projection, directions and superresolution in plain PyTorch.

`import ganworks` is cheap: neither torch nor Django is loaded until a name below is first used (PEP 562).
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganworks.components import Basis, closed_form_factors, open_basis, principal_components
    from ganworks.devices import choose_device, inference_threads
    from ganworks.difference import Difference
    from ganworks.directions import Direction, layer_ranges, read_directions
    from ganworks.drafts import Corrections
    from ganworks.edits import Edit, apply_edits
    from ganworks.encoder import Encoder, encode, open_encoder
    from ganworks.errors import (
        BasisMismatch,
        BasisNotFound,
        CheckpointError,
        DeviceNotFound,
        EncoderMismatch,
        EncoderNotFound,
        GanworksError,
        GeneratorNotFound,
        InvalidInput,
        NotFound,
        OutOfMemory,
        Stopped,
        UpscalerNotFound,
    )
    from ganworks.generator import Generator, open_generator
    from ganworks.images import to_image, to_tensor
    from ganworks.importing import ImportReport, find_imported, import_checkpoint
    from ganworks.importing.catalogue import CatalogueEntry, catalogue, catalogue_entry
    from ganworks.info import GeneratorInfo, UpscalerInfo, direction_names
    from ganworks.library import Library
    from ganworks.perceptual import Critic
    from ganworks.projection import Projection, ProjectionStep, project
    from ganworks.sheets import contact_sheet
    from ganworks.superresolution import Upscaler, open_upscaler
    from ganworks.tuning import Tuned, tune
    from ganworks.upscalers import UpscalerReport, import_upscaler

# Before torch is imported: idle OpenMP threads must sleep, not spin, or busy ones slow each other tenfold.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Large tensors lie in large pages: the first touch of 128 MB in small ones costs as much as a convolution of it.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

_HOMES = {
    "components": ("Basis", "closed_form_factors", "open_basis", "principal_components"),
    "devices": ("choose_device", "inference_threads"),
    "difference": ("Difference",),
    "directions": ("Direction", "layer_ranges", "read_directions"),
    "drafts": ("Corrections",),
    "edits": ("Edit", "apply_edits"),
    "encoder": ("Encoder", "encode", "open_encoder"),
    "errors": (
        "BasisMismatch",
        "BasisNotFound",
        "CheckpointError",
        "DeviceNotFound",
        "EncoderMismatch",
        "EncoderNotFound",
        "GanworksError",
        "GeneratorNotFound",
        "InvalidInput",
        "NotFound",
        "OutOfMemory",
        "Stopped",
        "UpscalerNotFound",
    ),
    "generator": ("Generator", "open_generator"),
    "images": ("to_image", "to_tensor"),
    "importing": ("ImportReport", "find_imported", "import_checkpoint"),
    "importing.catalogue": ("CatalogueEntry", "catalogue", "catalogue_entry"),
    "info": ("GeneratorInfo", "UpscalerInfo", "direction_names"),
    "library": ("Library",),
    "perceptual": ("Critic",),
    "projection": ("Projection", "ProjectionStep", "project"),
    "sheets": ("contact_sheet",),
    "superresolution": ("Upscaler", "open_upscaler"),
    "tuning": ("Tuned", "tune"),
    "upscalers": ("UpscalerReport", "import_upscaler"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Basis",
    "BasisMismatch",
    "BasisNotFound",
    "CatalogueEntry",
    "CheckpointError",
    "Corrections",
    "Critic",
    "DeviceNotFound",
    "Difference",
    "Direction",
    "Edit",
    "Encoder",
    "EncoderMismatch",
    "EncoderNotFound",
    "GanworksError",
    "Generator",
    "GeneratorInfo",
    "GeneratorNotFound",
    "ImportReport",
    "InvalidInput",
    "Library",
    "NotFound",
    "OutOfMemory",
    "Projection",
    "ProjectionStep",
    "Stopped",
    "Tuned",
    "Upscaler",
    "UpscalerInfo",
    "UpscalerNotFound",
    "UpscalerReport",
    "apply_edits",
    "catalogue",
    "catalogue_entry",
    "choose_device",
    "closed_form_factors",
    "contact_sheet",
    "direction_names",
    "encode",
    "find_imported",
    "import_checkpoint",
    "import_upscaler",
    "inference_threads",
    "layer_ranges",
    "open_basis",
    "open_encoder",
    "open_generator",
    "open_upscaler",
    "principal_components",
    "project",
    "read_directions",
    "to_image",
    "to_tensor",
    "tune",
]


def __getattr__(name: str) -> Any:
    """Import the module that a public name lives in, when the name is first used."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'ganworks' has no attribute {name!r}")
    value = getattr(import_module(f"ganworks.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
