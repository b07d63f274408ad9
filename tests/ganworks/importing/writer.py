"""Writes checkpoints in the layouts of the public tools, from the vectors in `tests/ganworks/vectors`.

A vector NAME.json describes the objects of a snapshot, NAME.npz holds their numbers (keys `t/...`) and what the
reference implementation computed from them (keys `ref/...`). The pickles written here name the same globals as real
ones, and no module of these names exists: `Writer` puts any name into a pickle. Where real files embed source text
stands `SOURCE`, which raises if somebody runs it.
"""

import io
import json
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ganworks.networks import stylegan2
from ganworks.networks.layers import FullyConnected

VECTORS = Path(__file__).parents[1] / "vectors"
SOURCE = "raise RuntimeError('module_src was executed')\n"
STORAGE_NAMES = {
    torch.float16: "HalfStorage",
    torch.bfloat16: "BFloat16Storage",
    torch.float32: "FloatStorage",
    torch.float64: "DoubleStorage",
    torch.int64: "LongStorage",
}


class Name:
    """A global of any module."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


@dataclass(eq=False)
class Call:
    """What a pickle makes by calling a name; `new` writes NEWOBJ in place of REDUCE."""

    name: Name
    arguments: Any
    state: Any = None
    items: dict[Any, Any] | None = None
    new: bool = False


@dataclass(eq=False)
class Persistent:
    """An object outside of the pickle."""

    key: Any


PurePickler: Any = pickle._Pickler  # type: ignore[attr-defined]  # the one in Python; the types leave it out


class Writer(PurePickler):  # type: ignore[misc]  # so it is Any
    """
    A pickler for the objects above. `old` writes the names that numpy had before version 2; `storages`, if given,
    collects what torch.save keeps beside the pickle.
    """

    def __init__(
        self, file: Any, protocol: int, *, old: bool = False, storages: list[torch.Tensor] | None = None
    ):
        super().__init__(file, protocol)
        self.old, self.storages = old, storages
        self.names: dict[tuple[str, str], Name] = {}

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Name):
            self.save_name(obj)
        elif isinstance(obj, Call):
            self.save_call(obj)
        elif isinstance(obj, Persistent):
            self.save(obj.key)
            self.write(pickle.BINPERSID)
        elif isinstance(obj, torch.Tensor) and self.storages is not None:
            self.save(self.beside(obj))
        else:
            super().save(obj, save_persistent_id)

    def beside(self, tensor: torch.Tensor) -> Call:
        """A tensor whose storage is kept outside."""
        assert self.storages is not None
        key = str(len(self.storages))
        storage = torch.as_strided(
            tensor.detach(), (tensor.untyped_storage().nbytes() // tensor.element_size(),), (1,), 0
        )
        self.storages.append(storage)
        form = Name("torch", STORAGE_NAMES[tensor.dtype])
        place = Persistent(("storage", form, key, "cuda:0", len(storage)))
        view = (tensor.storage_offset(), tuple(tensor.shape), tensor.stride())
        rebuilt = Call(Name("torch._utils", "_rebuild_tensor_v2"), (place, *view, False, OrderedDict()))
        if isinstance(tensor, torch.nn.Parameter):
            return Call(Name("torch._utils", "_rebuild_parameter"), (rebuilt, True, OrderedDict()))
        return rebuilt

    def save_name(self, obj: Name) -> None:
        known = self.names.setdefault((obj.module, obj.name), obj)
        if id(known) in self.memo:
            self.write(self.get(self.memo[id(known)][0]))
            return
        if self.proto >= 4:
            super().save(known.module)
            super().save(known.name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{known.module}\n{known.name}\n".encode())
        self.memoize(known)

    def save_call(self, obj: Call) -> None:
        if id(obj) in self.memo:
            self.write(self.get(self.memo[id(obj)][0]))
            return
        self.save(obj.name)
        self.save(obj.arguments)
        self.write(pickle.NEWOBJ if obj.new else pickle.REDUCE)
        self.memoize(obj)
        if obj.items:
            self._batch_setitems(iter(obj.items.items()))
        if obj.state is not None:
            self.save(obj.state)
            self.write(pickle.BUILD)

    def save_global(self, obj: Any, name: str | None = None) -> None:
        """As Python does it, but under names of any version."""
        module, found = str(obj.__module__), name or obj.__qualname__
        if self.old:
            module = module.replace("numpy._core", "numpy.core")
        if self.proto < 3:
            module = module.replace("builtins", "__builtin__")
        self.save_name(Name(module, found))


for kind in (type, type(lambda: None), type(len)):
    Writer.dispatch = {**Writer.dispatch, kind: Writer.save_global}


def pickled(value: Any, protocol: int = 4, *, old: bool = False) -> bytes:
    file = io.BytesIO()
    Writer(file, protocol, old=old).dump(value)
    return file.getvalue()


def zipped(value: Any, folder: str = "archive") -> bytes:
    """As torch.save writes it today."""
    storages: list[torch.Tensor] = []
    pickle_file = io.BytesIO()
    Writer(pickle_file, 2, storages=storages).dump(value)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{folder}/data.pkl", pickle_file.getvalue())
        archive.writestr(f"{folder}/byteorder", "little")
        for key, storage in enumerate(storages):
            archive.writestr(f"{folder}/data/{key}", raw(storage))
        archive.writestr(f"{folder}/version", "3\n")
    return file.getvalue()


def legacy(value: Any) -> bytes:
    """As torch.save wrote it before torch 1.6."""
    storages: list[torch.Tensor] = []
    file = io.BytesIO()
    system = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    for item in (0x1950A86A20F9469CFC6C, 1001, system):
        pickle.dump(item, file, 2)
    body = io.BytesIO()
    Writer(body, 2, storages=storages).dump(value)
    file.write(body.getvalue())
    pickle.dump([str(key) for key in range(len(storages))], file, 2)
    for storage in storages:
        file.write(len(storage).to_bytes(8, "little") + raw(storage))
    return file.getvalue()


def raw(storage: torch.Tensor) -> bytes:
    return storage.view(torch.uint8).numpy().tobytes() if len(storage) else b""


# --- From vectors to objects --------------------------------------------------------------------------------


def module(class_name: str, state: Any, source: str = SOURCE) -> Call:
    """A module of the public PyTorch code."""
    meta = {"type": "class", "version": 6, "module_src": source, "class_name": class_name, "state": state}
    return Call(Name("torch_utils.persistence", "_reconstruct_persistent_obj"), (meta,))


def state_of(found: Call) -> dict[str, Any]:
    """The state of a module."""
    state: dict[str, Any] = found.arguments[0]["state"]
    return state


def child(found: Call, *path: str) -> Call:
    """A module below another."""
    for name in path:
        found = state_of(found)["_modules"][name]
    return found


@dataclass
class Decoder:
    """Makes objects of their description in JSON."""

    arrays: dict[str, Any]
    source: str = SOURCE
    stubs: dict[str, Call] = field(default_factory=dict)

    def decode(self, value: Any, parameter: bool = False) -> Any:
        if not isinstance(value, dict):
            return value
        tag, body = next(iter(value.items()))
        if tag == "$module":
            return module(body, self.decode(value["state"]), self.source)
        if tag == "$tensor":
            tensor = torch.from_numpy(np.array(self.arrays[body]))
            return torch.nn.Parameter(tensor, requires_grad=False) if parameter else tensor
        if tag == "$npscalar":
            return np.dtype(value["dtype"]).type(body)
        if tag == "$stub":
            return Call(Name("omegaconf.dictconfig", "DictConfig"), (), state={"_metadata": None}, new=True)
        return getattr(self, f"_{tag[1:]}")(body, parameter)

    def _array(self, body: Any, parameter: bool) -> Any:
        return np.array(self.arrays[body])

    def _easydict(self, body: Any, parameter: bool) -> Any:
        items = {key: self.decode(item) for key, item in body.items()}
        return Call(Name("dnnlib.util", "EasyDict"), (), items=items, new=True)

    def _odict(self, body: Any, parameter: bool) -> Any:
        return OrderedDict((key, self.decode(item)) for key, item in body)

    def _dict(self, body: Any, parameter: bool) -> Any:
        return {key: self.decode(item, key == "_parameters" or parameter) for key, item in body.items()}

    def _tuple(self, body: Any, parameter: bool) -> Any:
        return tuple(self.decode(item) for item in body)

    def _list(self, body: Any, parameter: bool) -> Any:
        return [self.decode(item) for item in body]

    def _set(self, body: Any, parameter: bool) -> Any:
        return set(body)


@cache
def vector(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The description and the numbers of a vector."""
    with np.load(VECTORS / f"{name}.npz") as arrays:
        return json.loads((VECTORS / f"{name}.json").read_text()), dict(arrays)


def generator(name: str, source: str = SOURCE) -> Call:
    """The running average of a PyTorch vector's generator, as one module."""
    tree, arrays = vector(name)
    found: Call = Decoder(arrays, source).decode(tree["G_ema"])
    return found


def snapshot(name: str) -> Any:
    """The whole snapshot that a vector describes. The training copy differs, so that a mistake is seen."""
    tree, arrays = vector(name)
    other = {
        key: value + np.float32(0.01) if value.dtype == np.float32 else value for key, value in arrays.items()
    }
    if tree["container"] == "nvidia-tf":
        critic = network({"version": 4, "name": "D", "static_kwargs": {}, "components": {}, "variables": []})
        return tf_network(tree["Gs"], other), critic, tf_network(tree["Gs"], arrays)
    return {
        "training_set_kwargs": {},
        "G": Decoder(other).decode(tree["G_ema"]),
        "D": None,
        "G_ema": Decoder(arrays).decode(tree["G_ema"]),
        "augment_pipe": None,
    }


def network(state: dict[str, Any]) -> Call:
    """A network of the TensorFlow code."""
    return Call(
        Name("dnnlib.tflib.network", "Network"), (), state={"build_module_src": SOURCE, **state}, new=True
    )


def tf_network(tree: dict[str, Any], arrays: dict[str, Any]) -> Call:
    variables = [
        (name, arrays[key] if arrays[key].ndim else arrays[key][()]) for name, key in tree["variables"]
    ]
    return network(
        {
            "version": tree["version"],
            "name": tree["name"],
            "static_kwargs": dict(tree["static_kwargs"]),
            "components": {key: tf_network(value, arrays) for key, value in tree["components"].items()},
            "build_func_name": tree["build_func_name"],
            "variables": variables,
        }
    )


def reference(name: str) -> dict[str, torch.Tensor]:
    """What the reference implementation computed."""
    _, arrays = vector(name)
    return {key[4:]: torch.from_numpy(value) for key, value in arrays.items() if key.startswith("ref/")}


def weights_of(found: Call, prefix: str = "") -> dict[str, torch.Tensor]:
    """The tensors of a module by their public names."""
    state = state_of(found)
    own = {**state["_parameters"], **state["_buffers"]}
    tensors = {prefix + name: value for name, value in own.items() if value is not None}
    for name, part in state["_modules"].items():
        if part is not None:
            tensors |= weights_of(part, f"{prefix}{name}.")
    return tensors


def rosinality(name: str = "skip") -> dict[str, torch.Tensor]:
    """The weights of a vector under the names that rosinality's code has for them, with its filters."""
    weights = weights_of(generator(name))
    sizes = [4, 8, 16, 32]
    layers = [(r, part) for r in sizes for part in (("conv1",) if r == 4 else ("conv0", "conv1"))]
    found: dict[str, torch.Tensor] = {"input.input": weights["synthesis.b4.const"][None]}
    for number in range(2):
        for part in ("weight", "bias"):
            found[f"style.{number + 1}.{part}"] = weights[f"mapping.fc{number}.{part}"]
    for number, (r, part) in enumerate(layers):
        here, there = f"synthesis.b{r}.{part}", "conv1" if number == 0 else f"convs.{number - 1}"
        found |= modulated(weights, here, there)
        found[f"{there}.noise.weight"] = weights[f"{here}.noise_strength"].reshape(1)
        found[f"{there}.activate.bias"] = weights[f"{here}.bias"]
        found[f"noises.noise_{number}"] = weights[f"{here}.noise_const"][None, None]
        if part == "conv0":
            found[f"{there}.conv.blur.kernel"] = weights[f"{here}.resample_filter"] * 4
    for number, r in enumerate(sizes):
        here, there = f"synthesis.b{r}.torgb", "to_rgb1" if number == 0 else f"to_rgbs.{number - 1}"
        found |= modulated(weights, here, there)
        found[f"{there}.bias"] = weights[f"{here}.bias"].reshape(1, 3, 1, 1)
        if number:
            found[f"{there}.upsample.kernel"] = weights["synthesis.b4.resample_filter"] * 4
    return {key: value.detach().clone() for key, value in found.items()}


def modulated(weights: dict[str, torch.Tensor], here: str, there: str) -> dict[str, torch.Tensor]:
    return {
        f"{there}.conv.weight": weights[f"{here}.weight"][None],
        f"{there}.conv.modulation.weight": weights[f"{here}.affine.weight"],
        f"{there}.conv.modulation.bias": weights[f"{here}.affine.bias"],
    }


def average(name: str = "skip") -> torch.Tensor:
    """The mean of w of a vector."""
    return weights_of(generator(name))["mapping.w_avg"].clone()


# --- Networks of any size -----------------------------------------------------------------------------------


def from_network(network: stylegan2.Generator) -> Call:
    """A network of ours in the layout of StyleGAN2-ADA."""
    return from_module(network, "", network)


def from_module(part: torch.nn.Module, name: str, network: stylegan2.Generator) -> Call:
    """A part of it, with the attributes that the public code gives it."""
    state = {
        "training": False,
        "_parameters": dict(part.named_parameters(recurse=False)),
        "_buffers": {key: value for key, value in part.named_buffers(recurse=False) if value is not None},
        "_modules": {key: from_module(child, key, network) for key, child in part.named_children()},
        "_init_args": (),
        "_init_kwargs": {},
    }
    if isinstance(part, FullyConnected):
        lr_multiplier = network.mapping.lr_multiplier if name.startswith("fc") else 1.0
        gain = lr_multiplier / part.weight.shape[1] ** 0.5
        activation = "lrelu" if name.startswith("fc") else "linear"
        state |= {"activation": activation, "weight_gain": gain, "bias_gain": lr_multiplier}
    elif isinstance(part, stylegan2.SynthesisLayer):
        state |= {"activation": "lrelu", "up": 2 if part.up else 1, "act_gain": np.float64(2**0.5)}
        state |= {"conv_clamp": part.conv_clamp, "use_noise": True}
    elif isinstance(part, stylegan2.Shortcut):
        state |= {"activation": "linear", "conv_clamp": None}
    elif isinstance(part, stylegan2.ToRGB):
        state |= {"conv_clamp": part.conv_clamp, "weight_gain": part.weight_gain}
    elif isinstance(part, stylegan2.SynthesisBlock):
        state |= {"architecture": network.architecture, "use_fp16": part.resolution >= 128}
    return module(type(part).__name__, state)


def tiny(**changes: Any) -> stylegan2.Generator:
    """A network so small that thousands of files are read in a second or two."""
    torch.manual_seed(0)
    sizes = {"z_dim": 2, "w_dim": 3, "resolution": 8, "num_layers": 1, "channel_base": 16, "channel_max": 2}
    return stylegan2.Generator(**{**sizes, **changes})
