"""Generators of ALIS, which draw landscapes without end: the published configuration, and no other."""

import re
from typing import Any

from ganworks.importing import modules
from ganworks.importing.found import Found, check_colors, close, mapping_sizes, resolutions, unusual
from ganworks.importing.modules import Node, block_sizes
from ganworks.importing.records import shown

# What the network in `networks.alis` is made for, by its path in the configuration.
PUBLISHED: dict[str, Any] = {
    "force_zero_padding": False,
    "modulated_second_conv": True,
    "upsampling_mode": None,
    "num_modes": 1,
    "style.is_spatial": True,
    "style.fallback_to_mean": False,
    "patchwise.enabled": True,
    "patchwise.grid_size": 2,
    "patchwise.w_coord_dist": 4,
    "patchwise.w_lerp_multiplier": 1,
    "patchwise.instance_norm": False,
    "input.type": "grid",
    "input.resolution": 4,
    "coords.enabled": True,
    "coords.kernel_size": 3,
    "coords.logarithmic": True,
    "coords.remove_lowest_freq": True,
    "coords.fallback": False,
    "coords.no_fourier_fallback": False,
    "coords.use_cips_embs": False,
    "coords.w_coord_dist": 4,
    "coords.grid_size": 2,
    "fmm.enabled": False,
}
NEEDED = {
    "num_modes",
    "patchwise.enabled",
    "patchwise.grid_size",
    "patchwise.w_coord_dist",
    "input.type",
    "coords.enabled",
}
# Noise maps belong to a frame, and would show where patches meet; the strength of shifts is 1 after training.
LEFT_OUT = ("noise_const", "noise_strength", "max_shift_strength")
MAX_REFERENCES = 4


def read_alis(root: Node) -> Found:
    """An ALIS of the published configuration."""
    synthesis = root.child("synthesis")
    keywords = root.attributes["_init_kwargs"]
    configuration = keywords.get("synthesis_cfg") if type(keywords) is dict else None
    _check_configuration(configuration)
    sizes = resolutions(block_sizes(synthesis))
    multiplier = modules.check_mapping(root.child("mapping"))
    modules.check_affines(root)
    modules.check_filters(root)
    layers: list[Node] = []
    for r in sizes:
        block = synthesis.child(f"b{r}")
        for name, up in (("conv0", 2), ("conv1", 1))[r == 4 :]:
            modules.check_layer(block.child(name), up)
            layers.append(block.child(name))
        modules.check_gain(block.child("torgb"))
        layers.append(block.child("torgb"))
    found = root.all_tensors()
    check_colors(found.get(f"synthesis.b{sizes[-1]}.torgb.weight"))
    kept = {key: weights for key, weights in found.items() if not key.endswith(LEFT_OUT)}
    meta = {
        "architecture": "alis",
        "resolution": sizes[-1],
        "num_ws": 2 * len(sizes) + 1,
        "lr_multiplier": multiplier,
        "conv_clamp": modules.shared_clamp(layers),
        **mapping_sizes(kept),
    }
    return Found(
        "ALIS", meta, kept, ["Noise maps were left out: in a panorama they would show where patches meet."]
    )


def _check_configuration(configuration: object) -> None:
    if type(configuration) is not dict:
        raise unusual("has no configuration")
    for path, wanted in PUBLISHED.items():
        value = _looked_up(configuration, path)
        if value is None and path not in NEEDED:  # older and newer code know fewer switches
            continue
        same = close(value, wanted) if type(wanted) is int else value is wanted or (value == wanted == "grid")
        if not same:
            raise unusual(f"has {shown(value)} for {path!r} in its configuration")


def _looked_up(configuration: dict[object, object], path: str, references: int = 0) -> object:
    """A value by its path, such as "a.b"; the value "${c.d}" stands for the one at that path."""
    value: object = configuration
    for part in path.split("."):
        value = value.get(part) if type(value) is dict else None
    reference = re.fullmatch(r"\$\{([a-z_.]{1,80})\}", value) if isinstance(value, str) else None
    if reference is None or references >= MAX_REFERENCES:
        return value
    return _looked_up(configuration, reference[1], references + 1)
