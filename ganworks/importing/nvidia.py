"""Generators of the public PyTorch code: StyleGAN2-ADA, and StyleGAN3 with its own StyleGAN2."""

from typing import Any

from ganworks.importing import modules, tensors
from ganworks.importing.found import Found, check_colors, mapping_sizes, number, resolutions, unusual, whole
from ganworks.importing.modules import Node
from ganworks.importing.records import Array
from ganworks.importing.refusal import Budget
from ganworks.importing.tensors import constant


def read_stylegan2(root: Node, budget: Budget) -> Found:
    """A StyleGAN2 of any of the three architectures."""
    mapping, synthesis = root.child("mapping"), root.child("synthesis")
    sizes = resolutions(modules.block_sizes(synthesis))
    blocks = [synthesis.child(f"b{r}") for r in sizes]
    multiplier = modules.check_mapping(mapping)
    modules.check_affines(root)
    modules.check_filters(root)
    found = root.all_tensors()
    ignored: list[str] = []
    layers: list[Node] = []
    for r, block in zip(sizes, blocks, strict=True):
        for name, up in (("conv0", 2), ("conv1", 1))[r == 4 :]:
            layer = block.child(name)
            modules.check_layer(layer, up)
            layers.append(layer)
            found |= _without_noise(layer, f"synthesis.b{r}.{name}", r, budget)
    layers += [block.children["torgb"] for block in blocks if "torgb" in block.children]
    for part in (block.children.get(name) for block in blocks for name in ("torgb", "skip")):
        if part is not None:
            modules.check_gain(part)
    architecture = _architecture(blocks)
    check_colors(found.get(f"synthesis.b{sizes[-1]}.torgb.weight"))
    half = sum(block.attributes.get("use_fp16") is True for block in blocks)
    if half:
        ignored.append(
            f"The {half} largest blocks were trained in half precision; here they are drawn in float32."
        )
    meta = {
        "architecture": "stylegan2",
        "synthesis_architecture": architecture,
        "resolution": sizes[-1],
        "num_ws": 2 * len(sizes),
        "lr_multiplier": multiplier,
        "conv_clamp": modules.shared_clamp(layers),
        **mapping_sizes(found),
    }
    return Found("StyleGAN2-ADA", meta, found, ignored)


def _architecture(blocks: list[Node]) -> str:
    """skip, orig or resnet, told from the parts that the blocks have."""
    colors = ["torgb" in block.children for block in blocks]
    shortcuts = ["skip" in block.children for block in blocks]
    stated = {
        block.attributes.get("architecture", "skip") for block in blocks if _is_text(block, "architecture")
    }
    if all(colors) and not any(shortcuts):
        found = "skip"
    elif any(colors[:-1]) or not colors[-1]:
        raise unusual("takes its colours from strange places")
    else:
        found = "resnet" if any(shortcuts) else "orig"
    for shortcut in (block.children["skip"] for block in blocks if "skip" in block.children):
        if (
            shortcut.attributes.get("activation") != "linear"
            or shortcut.attributes.get("conv_clamp") is not None
        ):
            raise unusual("has shortcuts that are not linear")
    if len(blocks) > 1 and stated != {found}:
        raise unusual("is put together in another way than it says")
    return found


def _is_text(block: Node, key: str) -> bool:
    if not isinstance(block.attributes.get(key, ""), str):
        raise unusual(f"has a malformed {key}")
    return True


def _without_noise(layer: Node, name: str, resolution: int, budget: Budget) -> dict[str, tensors.Weights]:
    """For a layer that was made without noise: maps of zeros, and no strength."""
    if "noise_const" in layer.tensors or "noise_strength" in layer.tensors:
        return {}
    budget.spend(4 * resolution**2)
    return {
        f"{name}.noise_const": constant(0, resolution, resolution),
        f"{name}.noise_strength": constant(0),
    }


# --- StyleGAN3 ----------------------------------------------------------------------------------------------


def read_stylegan3(root: Node, budget: Budget) -> Found:
    """A StyleGAN3, T or R: what its layers say becomes a plan."""
    mapping, synthesis = root.child("mapping"), root.child("synthesis")
    multiplier = modules.check_mapping(mapping)
    modules.check_affines(root)
    found = root.all_tensors()
    plan = _plan(synthesis, budget)
    last = plan["layers"][-1]
    check_colors(found.get(f"synthesis.{last['name']}.weight"))
    kernels = {layer["kernel"] for layer in plan["layers"][:-1]}
    meta = {
        "architecture": "stylegan3",
        "resolution": last["out_size"][0],
        "num_ws": len(plan["layers"]) + 1,
        "lr_multiplier": multiplier,
        "conv_clamp": last["conv_clamp"],
        "plan": plan,
        **mapping_sizes(found),
    }
    half = any(layer.attributes.get("use_fp16") is True for layer in synthesis.children.values())
    ignored = ["Some layers were trained in half precision; here they are drawn in float32."] if half else []
    return Found("StyleGAN3-R" if kernels == {1} else "StyleGAN3-T", meta, found, ignored)


def _plan(synthesis: Node, budget: Budget) -> dict[str, Any]:
    start = synthesis.child("input")
    names = synthesis.attributes.get("layer_names")
    if type(names) is not list or not names or not all(isinstance(name, str) for name in names):
        raise unusual("has no list of layers")
    if sorted(names) != sorted(set(synthesis.children) - {"input"}):
        raise unusual("has other layers than it lists")
    return {
        "channels": whole(start.attributes.get("channels"), "number of channels"),
        "size": _sizes(start, "size", 2, budget),
        "sampling_rate": number(start.attributes.get("sampling_rate"), "sampling rate"),
        "bandwidth": number(start.attributes.get("bandwidth"), "bandwidth"),
        "output_scale": number(synthesis.attributes.get("output_scale", 0.25), "scale"),
        "layers": [_planned(name, synthesis.child(name), budget) for name in names],
    }


def _planned(name: str, layer: Node, budget: Budget) -> dict[str, Any]:
    """The description of one layer, as `networks.stylegan3.LayerDescription` has it."""
    attributes = layer.attributes
    taps = {}
    for kind in ("up", "down"):
        kernel = layer.tensors.get(f"{kind}_filter")
        taps[kind] = kernel.shape if kernel is not None else ()
    if len(taps["up"]) > 1 or len(taps["down"]) > 2:
        raise unusual("has filters of strange shapes")
    clamp = modules.shared_clamp([layer])
    if type(attributes.get("is_torgb")) is not bool:
        raise unusual("does not say which layer makes the colours")
    return {
        "name": name,
        "inputs": whole(attributes.get("in_channels"), "number of channels"),
        "outputs": whole(attributes.get("out_channels"), "number of channels"),
        "kernel": whole(attributes.get("conv_kernel"), "kernel") if not attributes["is_torgb"] else 1,
        "in_size": _sizes(layer, "in_size", 2, budget),
        "out_size": _sizes(layer, "out_size", 2, budget),
        "up": whole(attributes.get("up_factor"), "factor"),
        "down": whole(attributes.get("down_factor"), "factor"),
        "up_taps": taps["up"][0] if taps["up"] else 0,
        "down_taps": taps["down"][0] if taps["down"] else 0,
        "down_radial": len(taps["down"]) == 2,
        "padding": _sizes(layer, "padding", 4, budget),
        "conv_clamp": clamp,
        "is_torgb": attributes["is_torgb"],
    }


def _sizes(node: Node, key: str, count: int, budget: Budget) -> list[int]:
    """Sizes in an array, a list, or one number for all."""
    value: Any = node.attributes.get(key)
    if isinstance(value, Array):
        value = tensors.numbers(value, budget)
    values = list(value) if type(value) in (list, tuple) else [value] * count
    if len(values) != count:
        raise unusual(f"has a malformed {key}")
    return [whole(item, key, -(2**20)) for item in values]
