"""Generators of the StyleGAN2 code for TensorFlow: a tuple of three networks (G, D, Gs), each with named variables."""

import re
from dataclasses import dataclass
from typing import Any

from ganworks.importing.found import BLUR, Found, check_colors, mapping_sizes, number, resolutions, unusual
from ganworks.importing.records import Array, Network, shown
from ganworks.importing.refusal import UNKNOWN, Budget, Refused
from ganworks.importing.tensors import Weights, weights

VERSIONS = range(2, 5)
KERNELS = ([1, 3, 3, 1],)
DEFAULT_LR_MULTIPLIER = 0.01
LEFT_OUT = [
    "The training copy of the generator was left out: its running average (Gs) is what draws best.",
    "The discriminator was left out.",
]


@dataclass(frozen=True)
class Variables:
    """The variables and the settings of a network."""

    values: dict[str, object]
    settings: dict[str, Any]


def read_tensorflow(networks: tuple[object, ...], budget: Budget) -> Found:
    """The third network, the running average."""
    average = networks[2]
    if not isinstance(average, Network):
        raise Refused("its third entry is no network", UNKNOWN)
    outer = _variables(average)
    components = average.state.get("components")
    parts = components if type(components) is dict else {}
    inner = [_variables(parts.get(name)) for name in ("mapping", "synthesis")]
    mapping, synthesis = inner
    _check_kind(mapping, synthesis)
    settings = {**outer.settings, **mapping.settings, **synthesis.settings}
    _check_settings(settings)
    found = {"mapping.w_avg": _weights(outer.values, "dlatent_avg", budget)}
    found |= _mapping(mapping.values, budget)
    largest = max(
        (int(name.partition("x")[0]) for name in synthesis.values if re.match(r"\d{1,4}x\d", name)), default=0
    )
    sizes = resolutions(largest)
    architecture = _architecture(synthesis.values, sizes)
    for r in sizes:
        found |= _block(synthesis.values, r, budget)
    check_colors(found.get(f"synthesis.b{largest}.torgb.weight"))
    clamp = settings.get("conv_clamp")
    meta = {
        "architecture": "stylegan2",
        "synthesis_architecture": architecture,
        "resolution": largest,
        "num_ws": 2 * len(sizes),
        "lr_multiplier": number(settings.get("mapping_lrmul", DEFAULT_LR_MULTIPLIER), "learning rate"),
        "conv_clamp": None if clamp is None else number(clamp, "clamp"),
        **mapping_sizes(found),
    }
    return Found("StyleGAN2 for TensorFlow", meta, found, list(LEFT_OUT))


def _variables(network: object) -> Variables:
    if not isinstance(network, Network):
        raise Refused("a network in it has no mapping, or no synthesis", UNKNOWN)
    state = network.state
    pairs, settings = state.get("variables"), state.get("static_kwargs")
    if state.get("version") not in VERSIONS or type(pairs) is not list or type(settings) is not dict:
        raise Refused("a network in it is not of the form that is known")
    values: dict[str, object] = {}
    for pair in pairs:
        if type(pair) is not tuple or len(pair) != 2 or not isinstance(pair[0], str) or pair[0] in values:
            raise Refused("a network in it is not of the form that is known")
        values[pair[0]] = pair[1]
    return Variables(values, {key: value for key, value in settings.items() if isinstance(key, str)})


def _check_kind(mapping: Variables, synthesis: Variables) -> None:
    """Other generators that were published in this form, each by a name that only it has."""
    names = [*mapping.values, *synthesis.values]
    if any("StyleMod" in name for name in names):
        raise Refused("it is a StyleGAN1", UNKNOWN)
    if any("ToRGB_lod" in name for name in names):
        raise Refused("it grew progressively (configurations B to D)", "Choose one of configuration E or F.")
    if any("LabelConcat" in name for name in names):
        raise Refused(
            "it is a StyleGAN2 for TensorFlow with classes, of the time before StyleGAN2-ADA",
            "Choose one without classes, or one of StyleGAN2-ADA.",
        )


def _check_settings(settings: dict[str, Any]) -> None:
    for key in ("nonlinearity", "mapping_nonlinearity"):
        if settings.get(key, "lrelu") not in ("lrelu", None):
            raise unusual(f"has the activation {shown(settings[key])}")
    kernel: Any = settings.get("resample_kernel")
    plain = (
        list(kernel)
        if type(kernel) in (list, tuple) and all(type(tap) in (int, float) for tap in kernel)
        else kernel
    )
    if plain is not None and (type(plain) is not list or plain not in KERNELS):
        raise unusual("resizes with another filter")
    if settings.get("normalize_latents", True) is not True or settings.get("fused_modconv_default") not in (
        None,
        True,
        False,
    ):
        raise unusual("does not normalise its latents")


def _weights(values: dict[str, object], name: str, budget: Budget) -> Weights:
    if name not in values:
        raise Refused(f"its generator has no variable {name[:80]!r}", UNKNOWN)
    value = values[name]
    if not isinstance(value, Array | int | float) or isinstance(value, bool):
        raise Refused(f"the variable {name[:80]!r} in it holds no numbers")
    return weights(value, budget)


def _mapping(values: dict[str, object], budget: Budget) -> dict[str, Weights]:
    """[in, out] becomes [out, in]."""
    found: dict[str, Weights] = {}
    for name in values:
        match = re.fullmatch(r"(Dense(\d{1,2})|LabelEmbed)/(weight|bias)", name)
        if match is None:
            continue
        layer = "embed" if match[2] is None else f"fc{int(match[2])}"
        value = _weights(values, name, budget)
        found[f"mapping.{layer}.{match[3]}"] = value.transposed(1, 0) if match[3] == "weight" else value
    return found


def _architecture(values: dict[str, object], sizes: list[int]) -> str:
    colors = [f"{r}x{r}/ToRGB/weight" in values for r in sizes]
    if any(f"{r}x{r}/Skip/weight" in values for r in sizes):
        return "resnet"
    return "skip" if all(colors) and len(sizes) > 1 else "orig"


def _block(values: dict[str, object], r: int, budget: Budget) -> dict[str, Weights]:
    """What belongs to one resolution, under its public names."""
    there, here = f"{r}x{r}", f"synthesis.b{r}"
    first = 2 * (r.bit_length() - 1) - 5  # the number of the first noise map of this resolution
    found: dict[str, Weights] = {}
    if r == 4:
        const = _weights(values, f"{there}/Const/const", budget)
        found[f"{here}.const"] = const.reshaped(*const.shape[1:])
        found |= _layer(values, f"{there}/Conv", f"{here}.conv1", 0, budget, r)
    else:
        found |= _layer(values, f"{there}/Conv0_up", f"{here}.conv0", first, budget, r, up=True)
        found |= _layer(values, f"{there}/Conv1", f"{here}.conv1", first + 1, budget, r)
    found[f"{here}.resample_filter"] = blur()
    if f"{there}/ToRGB/weight" in values:
        found |= _modulated(values, f"{there}/ToRGB", f"{here}.torgb", budget)
    if f"{there}/Skip/weight" in values:
        found[f"{here}.skip.weight"] = _kernel(values, f"{there}/Skip/weight", budget, up=True)
        found[f"{here}.skip.resample_filter"] = blur()
    return found


def _layer(
    values: dict[str, object], there: str, here: str, noise: int, budget: Budget, r: int, *, up: bool = False
) -> dict[str, Weights]:
    found = _modulated(values, there, here, budget, up=up)
    found[f"{here}.noise_strength"] = _weights(values, f"{there}/noise_strength", budget).reshaped()
    found[f"{here}.noise_const"] = _weights(values, f"noise{noise}", budget).reshaped(r, r)
    found[f"{here}.resample_filter"] = blur()
    return found


def _modulated(
    values: dict[str, object], there: str, here: str, budget: Budget, *, up: bool = False
) -> dict[str, Weights]:
    """A modulated convolution. The styles' bias is stored without the 1 that belongs to it."""
    bias = _weights(values, f"{there}/mod_bias", budget)
    return {
        f"{here}.weight": _kernel(values, f"{there}/weight", budget, up=up),
        f"{here}.bias": _weights(values, f"{there}/bias", budget),
        f"{here}.affine.weight": _weights(values, f"{there}/mod_weight", budget).transposed(1, 0),
        f"{here}.affine.bias": bias.changed(bias.shape, lambda numbers: numbers + 1),
    }


def _kernel(values: dict[str, object], name: str, budget: Budget, *, up: bool) -> Weights:
    """[height, width, in, out] becomes [out, in, height, width]; kernels that enlarge are stored flipped."""
    found = _weights(values, name, budget)
    if up:
        found = found.changed(found.shape, lambda numbers: numbers[::-1, ::-1])
    return found.transposed(3, 2, 0, 1)


def blur() -> Weights:
    """The filter that resizes, which is not stored."""
    return Weights(BLUR.shape, lambda: BLUR)
