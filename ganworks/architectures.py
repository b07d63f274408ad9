"""The networks that a generator's file can name, each built from its header without memory (torch's `meta` device).

What a header says is never taken on trust: sizes are bounded here, and every tensor's shape is compared with the
network that the header describes before weights are read.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ganworks import checkpoint
from ganworks.checkpoint import Header
from ganworks.effort import check_effort
from ganworks.info import MAX_DIM, MAX_RESOLUTION_PX, GeneratorInfo
from ganworks.networks import alis, stylegan2, stylegan3

MAX_PLANNED_LAYERS = 63
MAX_RATE_FACTOR = 8
MAX_TAPS = 64


class Network(Protocol):
    """What a generator's network offers, whatever its architecture. Gradients flow through `map_to_w` and `draw`."""

    z_dim: int
    w_dim: int
    c_dim: int
    num_ws: int
    resolution: int
    mapping: stylegan2.MappingNetwork

    def draw(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        noise: Mapping[str, Tensor] | None = None,
        random: torch.Generator | None = None,
        transform: Tensor | None = None,
    ) -> Tensor:
        """
        ws [N, num_ws, w_dim] to pictures [N, 3, resolution, resolution]. The arguments are those of the
        architectures together: noise means nothing to those without noise, `transform` [3, 3] to those that
        cannot move a picture.
        """

    def noise_buffers(self) -> dict[str, Tensor]:
        """The stored noise maps by name; none where the architecture has no noise."""

    def noise_in_use(self) -> dict[str, Tensor]:
        """Those of the stored noise maps that change the picture."""

    def affines(self) -> list[tuple[int, nn.Module]]:
        """The linear layers that turn w into styles, each with the row of ws that it reads."""


def build(header: Header, info: GeneratorInfo) -> nn.Module:
    """
    The network that a header describes, without memory for its weights. CheckpointError if it describes none,
    or one whose tensors are not those of the file.
    """
    if header.integer("img_channels", 1, 64, 3) != 3:
        raise checkpoint.damaged(header.name, "it does not make pictures of three colours")
    with torch.device("meta"):
        try:
            network = BUILDERS[info.architecture](header, info)
            check_effort(network)
        except ValueError as error:
            raise checkpoint.damaged(header.name, f"its sizes do not fit together ({error})") from error
    checkpoint.check_shapes(header, {key: tuple(value.shape) for key, value in network.state_dict().items()})
    return network


def sizes_of(network: nn.Module) -> dict[str, Any]:
    """What a header must say of a network, for `build` to make it again."""
    if isinstance(network, stylegan3.Generator):
        return {**_common(network, "stylegan3"), "plan": stylegan3.plan_as_data(network.synthesis.plan)}
    if isinstance(network, alis.Generator):
        return {**_common(network, "alis"), "conv_clamp": network.conv_clamp}
    if isinstance(network, stylegan2.Generator):
        return {
            **_common(network, "stylegan2"),
            "synthesis_architecture": network.architecture,
            "conv_clamp": network.conv_clamp,
        }
    raise TypeError(f"{type(network).__name__} is not a generator.")


def _common(
    network: "stylegan2.Generator | stylegan3.Generator | alis.Generator", name: str
) -> dict[str, Any]:
    return {
        "architecture": name,
        "resolution": network.resolution,
        "img_channels": network.img_channels,
        "z_dim": network.z_dim,
        "w_dim": network.w_dim,
        "c_dim": network.c_dim,
        "num_ws": network.num_ws,
        "num_layers": network.mapping.num_layers,
        "lr_multiplier": network.mapping.lr_multiplier,
    }


# --- From headers to networks -------------------------------------------------------------------------------


def _stylegan2(header: Header, info: GeneratorInfo) -> nn.Module:
    architecture = header.text("synthesis_architecture", "skip")
    if architecture not in stylegan2.ARCHITECTURES:
        known = ", ".join(stylegan2.ARCHITECTURES)
        raise checkpoint.damaged(
            header.name, f"its header must give 'synthesis_architecture' as one of {known}"
        )
    return stylegan2.Generator(
        **_mapping_sizes(header, info),
        resolution=info.resolution,
        widths=_widths(header, info),
        conv_clamp=_conv_clamp(header),
        architecture=architecture,
    )


def _alis(header: Header, info: GeneratorInfo) -> nn.Module:
    return alis.Generator(
        **_mapping_sizes(header, info),
        resolution=info.resolution,
        widths=_widths(header, info),
        conv_clamp=_conv_clamp(header),
    )


def _stylegan3(header: Header, info: GeneratorInfo) -> nn.Module:
    plan = _plan(header)
    plan.check(info.resolution)
    return stylegan3.Generator(**_mapping_sizes(header, info), plan=plan)


BUILDERS: dict[str, Callable[[Header, GeneratorInfo], nn.Module]] = {
    "stylegan2": _stylegan2,
    "stylegan3": _stylegan3,
    "alis": _alis,
}


def _mapping_sizes(header: Header, info: GeneratorInfo) -> dict[str, Any]:
    """What an imported file does not say of its mapping network is read off its tensors."""
    layers = sum(key.startswith("mapping.fc") and key.endswith(".weight") for key in header.shapes)
    return {
        "z_dim": info.z_dim,
        "w_dim": info.w_dim,
        "c_dim": info.c_dim,
        "num_layers": header.integer("num_layers", 1, 64, layers),
        "lr_multiplier": header.number("lr_multiplier", 1e-9, 1e9, 0.01),
    }


def _widths(header: Header, info: GeneratorInfo) -> dict[int, int]:
    """The width of the feature maps at each resolution: from the header's rule, or else from the tensors."""
    resolutions = [2**power for power in range(2, info.resolution.bit_length())]
    if "channel_base" in header.meta or "channel_max" in header.meta:
        base = header.integer("channel_base", 1, 2**24)
        most = header.integer("channel_max", 1, MAX_DIM)
        return {r: min(base // r, most) for r in resolutions}
    shapes = {r: header.shapes.get(f"synthesis.b{r}.conv1.weight", ()) for r in resolutions}
    return {r: min(max(shape[0], 1), MAX_DIM) if len(shape) == 4 else 1 for r, shape in shapes.items()}


def _conv_clamp(header: Header) -> float | None:
    return None if header.meta.get("conv_clamp") is None else header.number("conv_clamp", 1e-9, 1e9)


def _plan(header: Header) -> stylegan3.SynthesisDescription:
    """The plan of a StyleGAN3 network, with each number bounded."""
    data = header.meta.get("plan")
    stored = data.get("layers") if isinstance(data, dict) else None
    if (
        not isinstance(data, dict)
        or not isinstance(stored, list)
        or not 2 <= len(stored) <= MAX_PLANNED_LAYERS
    ):
        raise checkpoint.damaged(header.name, "its header has no plan of its layers")
    top = Header(data, {}, header.name)
    return stylegan3.SynthesisDescription(
        channels=top.integer("channels", 1, MAX_DIM),
        size=_integers(top, "size", 2, 1, 2 * MAX_RESOLUTION_PX),
        sampling_rate=top.number("sampling_rate", 1e-3, 1e5),
        bandwidth=top.number("bandwidth", 0, 1e5),
        layers=tuple(_planned_layer(layer, header.name) for layer in stored),
        output_scale=top.number("output_scale", -1e3, 1e3, 0.25),
    )


def _planned_layer(data: object, name: str) -> stylegan3.LayerDescription:
    if not isinstance(data, dict) or data.keys() != {f.name for f in fields(stylegan3.LayerDescription)}:
        raise checkpoint.damaged(name, "a layer in its plan is malformed")
    layer = Header(data, {}, name)
    flags = data["down_radial"], data["is_torgb"]
    if not all(isinstance(flag, bool) for flag in flags):
        raise checkpoint.damaged(name, "a layer in its plan is malformed")
    return stylegan3.LayerDescription(
        name=layer.text("name"),
        inputs=layer.integer("inputs", 1, MAX_DIM),
        outputs=layer.integer("outputs", 1, MAX_DIM),
        kernel=layer.integer("kernel", 1, 7),
        in_size=_integers(layer, "in_size", 2, 1, 2 * MAX_RESOLUTION_PX),
        out_size=_integers(layer, "out_size", 2, 1, 2 * MAX_RESOLUTION_PX),
        up=layer.integer("up", 1, MAX_RATE_FACTOR),
        down=layer.integer("down", 1, MAX_RATE_FACTOR),
        up_taps=layer.integer("up_taps", 0, MAX_TAPS),
        down_taps=layer.integer("down_taps", 0, MAX_TAPS),
        down_radial=data["down_radial"],
        padding=_integers(layer, "padding", 4, -2 * MAX_RESOLUTION_PX, 2 * MAX_RESOLUTION_PX),
        conv_clamp=_conv_clamp(layer),
        is_torgb=data["is_torgb"],
    )


def _integers(header: Header, key: str, count: int, low: int, high: int) -> Any:
    values = header.meta.get(key)
    if not isinstance(values, list | tuple) or len(values) != count:
        raise checkpoint.damaged(header.name, f"its header must give {key!r} as {count} whole numbers")
    row = Header({str(i): value for i, value in enumerate(values)}, {}, header.name)
    return tuple(row.integer(str(i), low, high) for i in range(count))
