"""The names that a checkpoint may use, and the plain data that each stands for here. No other name is let in."""

from collections.abc import Callable
from typing import Any, Protocol

from ganworks.importing import tensors
from ganworks.importing.records import (
    Array,
    Bytes,
    DType,
    EncodedBytes,
    Module,
    Name,
    Network,
    Storage,
    Stub,
    Tensor,
    Text,
    kind_of,
    plain_bytes,
)
from ganworks.importing.refusal import OBJECT_BYTES, Budget, Refused
from ganworks.importing.sources import inspect

Arguments = tuple[object, ...]
PERSISTENCE_VERSION = 6


class Storages(Protocol):
    """Where the storages of a file lie."""

    def find(self, key: str, code: str, count: int) -> Storage:
        """The storage of that key, which must be of the class and size that the pickle says."""


class Vocabulary:
    """The names of one file. `storages` are those beside the pickle; None if there are none beside it."""

    def __init__(self, budget: Budget, storages: Storages | None = None) -> None:
        self.budget, self.storages = budget, storages
        self.source_bytes: dict[int, int] = {}  # of texts of source, by identity

    def named(self, module: str, name: str) -> object:
        module = _ALIASES.get(module, module)
        full = f"{module}.{name}"
        if full not in CALLS and full not in NAMES and storage_code(full) is None:
            raise Refused(
                f"it names {full[:120]!r}, which is not on the list of what a checkpoint needs",
                "It was not run. Import only checkpoints that you trust, from where they were published.",
            )
        return Name(module, name)

    def called(self, what: object, arguments: Arguments) -> object:
        call = CALLS.get(str(what)) if isinstance(what, Name) else None
        if call is None:
            raise Refused(f"it calls {kind_of(what)}")
        return call(self, arguments)

    def restored(self, target: object, state: object) -> None:
        if isinstance(target, Network):
            _restore_network(self, target, state)
        elif isinstance(target, Array):
            _restore_array(target, state)
        elif isinstance(target, DType):
            _restore_dtype(target, state)
        elif not isinstance(target, Stub) and type(target) is not dict:
            # The attributes of a stub or a dictionary mean nothing here.
            raise Refused(f"it gives a state to {kind_of(target)}")

    def persistent(self, key: object) -> object:
        if self.storages is None:
            raise Refused("it refers to objects outside of the file")
        if (
            type(key) is not tuple
            or not 5 <= len(key) <= 6
            or key[0] != "storage"
            or key[5:] not in ((), (None,))
        ):
            raise Refused("it refers to something that is not a storage")
        _, form, number, _, count = key[:5]
        code = storage_code(str(form)) if isinstance(form, Name) else None
        if code is None or not isinstance(number, str) or type(count) is not int or count < 0:
            raise Refused("a storage in it is malformed")
        return self.storages.find(number, code, count)

    def count_source(self, source: object) -> None:
        """Remember how long a text of source is that came with a module; the same text counts once."""
        if isinstance(source, str | Text) and id(source) not in self.source_bytes:
            self.source_bytes[id(source)] = inspect(source)

    def stored(self, data: Bytes) -> Storage:
        """A storage in a byte string. Nothing may be nested deeper than that."""
        raise Refused("it has a pickle within a pickle within a pickle")


def storage_code(full_name: str) -> str | None:
    """ "Float" of "torch.FloatStorage"; None for what is no class of storages."""
    head, _, name = full_name.partition(".")
    code = name.removesuffix("Storage")
    return code if head == "torch" and name.endswith("Storage") and code in tensors.STORAGES else None


# --- What names with arguments stand for ---------------------------------------------------------------------


def _dictionary(vocabulary: Vocabulary, arguments: Arguments) -> object:
    """dict(), OrderedDict(), EasyDict(), defaultdict(factory), or pairs in a list, as Python 2 wrote them."""
    found: dict[object, object] = {}
    pairs: Any = next((argument for argument in arguments if type(argument) is list), [])
    vocabulary.budget.spend(2 * OBJECT_BYTES * len(pairs))
    for pair in pairs:
        if type(pair) not in (list, tuple) or len(pair) != 2 or type(pair[0]) is not str or pair[0] in found:
            raise Refused("a dictionary in it is malformed")
        found[pair[0]] = pair[1]
    return found


def _items(vocabulary: Vocabulary, arguments: Arguments) -> object:
    """A set or a tuple of sizes, as a list."""
    if not arguments:
        return []
    if len(arguments) != 1 or type(arguments[0]) not in (list, tuple):
        raise Refused("a set in it is malformed")
    items: Any = arguments[0]
    vocabulary.budget.spend(OBJECT_BYTES * len(items))
    return list(items)


def _bytes(vocabulary: Vocabulary, arguments: Arguments) -> object:
    """bytes() or bytearray(b"...")."""
    if not arguments:
        return memoryview(b"")
    if len(arguments) != 1 or not isinstance(arguments[0], Bytes):
        raise Refused("a byte string in it is malformed")
    return arguments[0]


def _encoded(vocabulary: Vocabulary, arguments: Arguments) -> object:
    """Bytes that protocol 2 writes as a text in Latin-1."""
    if len(arguments) != 2 or arguments[1] not in ("latin1", "latin-1"):
        raise Refused("a text that stands for bytes in it is malformed")
    text = arguments[0]
    if isinstance(text, Text):
        return EncodedBytes(text.utf8)
    if not isinstance(text, str):
        raise Refused("a text that stands for bytes in it is malformed")
    return plain_bytes(EncodedBytes(memoryview(text.encode("utf-8", "surrogatepass"))), vocabulary.budget)


def _dtype(vocabulary: Vocabulary, arguments: Arguments) -> object:
    if not arguments:
        raise Refused("a number format in it is malformed")
    return tensors.dtype(arguments[0])


def _restore_dtype(target: DType, state: object) -> None:
    """The state is (version, order of bytes, and what only structures, texts and dates have)."""
    if type(state) is not tuple or len(state) < 5 or state[1] not in ("<", ">", "|", "=") or any(state[2:5]):
        raise Refused("a number format in it is malformed")
    target.order = ">" if state[1] == ">" else "<"


def _empty_array(vocabulary: Vocabulary, arguments: Arguments) -> object:
    if not arguments or not isinstance(arguments[0], Name) or str(arguments[0]) != "numpy.ndarray":
        raise Refused("an array in it is malformed")
    return Array()


def _restore_array(target: Array, state: object) -> None:
    """The state is (version, shape, format, Fortran's order, bytes)."""
    if target.data is not None or type(state) is not tuple or len(state) != 5:
        raise Refused("an array in it is malformed")
    _, shape, form, fortran, data = state
    _fill(target, shape, form, data)
    target.fortran = fortran is True
    tensors.check_array(target)


def _array_from_buffer(vocabulary: Vocabulary, arguments: Arguments) -> object:
    """Protocol 5: (bytes, format, shape, order)."""
    if len(arguments) != 4:
        raise Refused("an array in it is malformed")
    data, form, shape, order = arguments
    array = Array()
    _fill(array, shape, form, data)
    array.fortran = order == "F"
    tensors.check_array(array)
    return array


def _fill(target: Array, shape: Any, form: object, data: object) -> None:
    if not isinstance(form, DType) or not isinstance(data, Bytes):
        raise Refused("an array in it does not hold plain numbers")
    target.shape, target.dtype, target.data = shape, form, data


def _scalar(vocabulary: Vocabulary, arguments: Arguments) -> object:
    if len(arguments) != 2:
        raise Refused("a number in it is malformed")
    return tensors.scalar(arguments[0], arguments[1], vocabulary.budget)


def _tensor(vocabulary: Vocabulary, arguments: Arguments) -> object:
    """(storage, offset, shape, strides, whether gradients are needed, hooks[, metadata])."""
    if not 4 <= len(arguments) <= 7:
        raise Refused("a tensor in it is malformed")
    return tensors.tensor(*arguments[:4])


def _parameter(vocabulary: Vocabulary, arguments: Arguments) -> object:
    """(tensor, whether gradients are needed, hooks[, state])."""
    if not 1 <= len(arguments) <= 4 or not isinstance(arguments[0], Tensor):
        raise Refused("a parameter in it is malformed")
    return arguments[0]


def _storage(vocabulary: Vocabulary, arguments: Arguments) -> object:
    """A storage that was written into a byte string by torch.save."""
    if len(arguments) != 1 or not isinstance(arguments[0], Bytes):
        raise Refused("a storage in it is malformed")
    return vocabulary.stored(arguments[0])


def _module(vocabulary: Vocabulary, arguments: Arguments) -> object:
    """A module of the public StyleGAN code. Its source text is counted, and left where it is."""
    found = arguments[0] if len(arguments) == 1 else None
    if type(found) is not dict or found.get("type") != "class" or found.get("version") != PERSISTENCE_VERSION:
        raise Refused("a module in it is not of the form that is known")
    class_name, state, source = found.get("class_name"), found.get("state"), found.get("module_src")
    if not isinstance(class_name, str) or type(state) is not dict or not isinstance(source, str | Text):
        raise Refused("a module in it is not of the form that is known")
    vocabulary.count_source(source)
    return Module(class_name, state, source)


def _network(vocabulary: Vocabulary, arguments: Arguments) -> object:
    if arguments:
        raise Refused("a network in it is malformed")
    return Network()


def _restore_network(vocabulary: Vocabulary, target: Network, state: object) -> None:
    if target.state or type(state) is not dict:
        raise Refused("a network in it is malformed")
    target.state = state
    vocabulary.count_source(state.get("build_module_src"))


def _stub(name: str) -> Callable[[Vocabulary, Arguments], object]:
    module, _, leaf = name.rpartition(".")
    return lambda vocabulary, arguments: Stub(Name(module, leaf))


CALLS: dict[str, Callable[[Vocabulary, Arguments], object]] = {
    "collections.OrderedDict": _dictionary,
    "collections.defaultdict": _dictionary,
    "builtins.dict": _dictionary,
    "dnnlib.util.EasyDict": _dictionary,
    "builtins.set": _items,
    "builtins.frozenset": _items,
    "torch.Size": _items,
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    "_codecs.encode": _encoded,
    "numpy.dtype": _dtype,
    "numpy._core.multiarray._reconstruct": _empty_array,
    "numpy._core.numeric._frombuffer": _array_from_buffer,
    "numpy._core.multiarray.scalar": _scalar,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.storage._load_from_bytes": _storage,
    "torch_utils.persistence._reconstruct_persistent_obj": _module,
    "dnnlib.tflib.network.Network": _network,
    **{
        name: _stub(name)
        for name in (
            "argparse.Namespace",
            "omegaconf.dictconfig.DictConfig",
            "omegaconf.listconfig.ListConfig",
            "omegaconf.base.ContainerMetadata",
            "omegaconf.base.Metadata",
            "omegaconf.nodes.AnyNode",
            "pathlib.PosixPath",
            "pathlib.WindowsPath",
            "torch.device",
        )
    },
}
# Names that are only mentioned.
NAMES = {
    "numpy.ndarray",
    "typing.Any",
    *(f"builtins.{name}" for name in ("bool", "float", "int", "list", "str", "tuple")),
    *(f"torch.{name}" for name in ("float16", "float32", "float64", "bfloat16")),
}
_ALIASES = {
    "__builtin__": "builtins",
    "numpy.core.multiarray": "numpy._core.multiarray",
    "numpy.core.numeric": "numpy._core.numeric",
}
