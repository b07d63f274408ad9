"""The modules of the public PyTorch code: a tree of names, attributes and tensors."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ganworks.importing.found import check_blur, close, number, unusual
from ganworks.importing.records import Module, kind_of, shown
from ganworks.importing.refusal import MAX_DEPTH, MAX_TENSORS, OBJECT_BYTES, UNKNOWN, Budget, Refused
from ganworks.importing.tensors import Weights, weights

SQRT_2 = 2**0.5
NAME = re.compile(r"\w{1,100}", re.ASCII)


@dataclass(frozen=True)
class Node:
    """A module: its class, its plain attributes, its own tensors, its submodules."""

    class_name: str
    attributes: dict[str, Any]
    tensors: dict[str, Weights]
    children: dict[str, "Node"]

    def walk(self, prefix: str = "") -> Iterator[tuple[str, "Node"]]:
        """This module and all below it, each with the beginning of its tensors' names."""
        yield prefix, self
        for name, child in self.children.items():
            yield from child.walk(f"{prefix}{name}.")

    def all_tensors(self) -> dict[str, Weights]:
        """All tensors by their public names."""
        return {prefix + name: value for prefix, node in self.walk() for name, value in node.tensors.items()}

    def child(self, name: str) -> "Node":
        if name not in self.children:
            raise Refused(f"its generator has no part {name!r}", UNKNOWN)
        return self.children[name]


class Reader:
    """Turns records of modules into nodes."""

    def __init__(self, budget: Budget) -> None:
        self.budget, self.modules = budget, 0

    def node(self, module: object, prefix: str = "") -> Node:
        """A module and all below it. `prefix` is how the names of its tensors begin."""
        if not isinstance(module, Module):
            raise Refused(f"it has {kind_of(module)} where a module is expected", UNKNOWN)
        self.modules += 1
        if prefix.count(".") > MAX_DEPTH or self.modules > MAX_TENSORS:
            raise Refused("its modules are nested too deep, or are too many")
        tensors: dict[str, Weights] = {}
        for group in ("_parameters", "_buffers"):
            for name, value in self.group(module, group).items():
                if value is not None and name in tensors:
                    raise Refused(f"the tensor {name[:80]!r} comes twice in a module")
                if value is not None:
                    self.budget.spend(len(prefix))
                    tensors[name] = weights(value, self.budget)
        children = {
            name: self.node(child, f"{prefix}{name}.")
            for name, child in self.group(module, "_modules").items()
            if child is not None
        }
        self.budget.spend(OBJECT_BYTES * len(module.state))
        attributes = {
            key: value
            for key, value in module.state.items()
            if isinstance(key, str) and not key.startswith("_")
        }
        attributes["_init_kwargs"] = module.state.get("_init_kwargs")
        return Node(module.class_name, attributes, tensors, children)

    def group(self, module: Module, name: str) -> dict[str, object]:
        """The parameters, buffers or submodules of a module."""
        found = module.state.get(name)
        if type(found) is not dict:
            raise Refused("a module in it is not of the form that is known")
        self.budget.spend(OBJECT_BYTES * len(found))
        if not all(isinstance(key, str) and NAME.fullmatch(key) for key in found):
            raise Refused("a module in it is not of the form that is known")
        return found


# --- What all published generators have in common ------------------------------------------------------------


def check_mapping(mapping: Node) -> float:
    """The mapping network must be the published one. Returns the multiplier of its learning rate."""
    layers = [node for name, node in mapping.children.items() if name.startswith("fc")]
    multipliers = {number(layer.attributes.get("bias_gain", 1), "gain") for layer in layers}
    if len(multipliers) != 1:
        raise unusual("has a mapping network whose layers learn at different rates")
    (multiplier,) = multipliers
    for layer in layers:
        _check_linear(layer, "lrelu", multiplier)
    if "embed" in mapping.children:
        _check_linear(mapping.children["embed"], "linear", 1)
    return multiplier


def block_sizes(synthesis: Node) -> int:
    """The largest resolution that has a block."""
    numbers = [name[1:] for name in synthesis.children if name[:1] == "b" and name[1:].isdecimal()]
    if not numbers or len(numbers) != len(synthesis.children) or max(map(len, numbers)) > 4:
        raise Refused("its generator is of an architecture that is not known here", UNKNOWN)
    return max(map(int, numbers))


def check_affines(root: Node) -> None:
    """All layers that turn w into styles must be linear, and scaled as published."""
    for prefix, node in root.walk():
        if prefix.endswith(".affine."):
            _check_linear(node, "linear", 1)


def _check_linear(layer: Node, activation: str, multiplier: float) -> None:
    weight = layer.tensors.get("weight")
    if weight is None or len(weight.shape) != 2 or not weight.shape[1]:
        raise unusual("has a linear layer of strange shape")
    if layer.attributes.get("activation") != activation:
        raise unusual(f"has the activation {shown(layer.attributes.get('activation'))} in a linear layer")
    gain = multiplier / weight.shape[1] ** 0.5
    if not close(layer.attributes.get("weight_gain"), gain) or not close(
        layer.attributes.get("bias_gain"), multiplier
    ):
        raise unusual("scales a linear layer in another way")


def check_layer(layer: Node, up: int) -> None:
    """A convolution must have the published activation, gain and factor."""
    attributes = layer.attributes
    if attributes.get("activation") != "lrelu":
        raise unusual(f"has the activation {shown(attributes.get('activation'))}")
    if attributes.get("up") != up or not close(attributes.get("act_gain"), SQRT_2):
        raise unusual("has a convolution with other factors")


def check_gain(layer: Node) -> None:
    """A convolution that is not demodulated must be scaled by what it takes in, where it says how it is scaled."""
    weight, gain = layer.tensors.get("weight"), layer.attributes.get("weight_gain")
    if gain is not None and weight is not None and not close(gain, math.prod(weight.shape[1:]) ** -0.5):
        raise unusual("scales a convolution in another way")


def check_filters(root: Node) -> None:
    """All filters that resize must be the published one."""
    for _, node in root.walk():
        if "resample_filter" in node.tensors:
            check_blur(node.tensors["resample_filter"])


def shared_clamp(layers: list[Node]) -> float | None:
    """The limit to which all layers clamp, or None."""
    clamps = {
        layer.attributes.get("conv_clamp")
        for layer in layers
        if _is_clamp(layer.attributes.get("conv_clamp"))
    }
    if len(clamps) != 1:
        raise unusual("clamps its layers to different limits")
    (clamp,) = clamps
    return None if clamp is None else number(clamp, "clamp")


def _is_clamp(value: object) -> bool:
    if value is not None and (type(value) not in (int, float) or not value > 0):  # type: ignore[operator]
        raise unusual("clamps its layers to a strange limit")
    return True
