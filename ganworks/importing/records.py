"""What a pickle's objects become here: plain data that can do nothing.

No record compares or hashes by content, so that shared and nested objects cost no more than they take.
"""

import codecs
from dataclasses import dataclass, field

from ganworks.importing.refusal import Budget, Refused

CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Name:
    """A module's name and a name in it. It stays a name: nothing is imported."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Text:
    """A long text that nobody needs: the bytes of its UTF-8, where they lie in the file."""

    utf8: memoryview


@dataclass(frozen=True, slots=True, eq=False)
class EncodedBytes:
    """Bytes that protocol 2 writes as a text, each byte being one character; still as the text's UTF-8."""

    utf8: memoryview


Bytes = memoryview | EncodedBytes


def plain_bytes(data: Bytes, budget: Budget) -> memoryview:
    """The bytes themselves. Those in a text are decoded, in pieces, at a cost of their own size."""
    if isinstance(data, memoryview):
        return data
    budget.spend(len(data.utf8))
    found = bytearray()
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for start in range(0, len(data.utf8), CHUNK_BYTES):
            found += decoder.decode(data.utf8[start : start + CHUNK_BYTES]).encode("latin-1")
        decoder.decode(b"", final=True)
    except UnicodeError as error:
        raise Refused("a text that stands for bytes in it is malformed") from error
    return memoryview(found)


@dataclass(slots=True, eq=False)
class DType:
    """A numpy number format: a code such as "f4", and "<" or ">" for the order of its bytes."""

    code: str
    order: str = "<"


@dataclass(slots=True, eq=False)
class Array:
    """A numpy array. It is empty until its state arrives."""

    shape: tuple[int, ...] = ()
    dtype: DType = field(default_factory=lambda: DType("u1"))
    data: Bytes | None = None
    fortran: bool = False


@dataclass(slots=True, eq=False)
class Storage:
    """
    `count` numbers of a torch storage, `code` being its class ("Float"), from `offset` on in `data`, which may
    become known later.
    """

    code: str
    count: int
    data: Bytes | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A torch tensor: a view of a storage, checked to lie within it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Module:
    """A torch module of the public StyleGAN code, with the size of the source text that came with it."""

    class_name: str
    state: dict[object, object]
    source: object


@dataclass(slots=True, eq=False)
class Network:
    """A network of the StyleGAN code for TensorFlow."""

    state: dict[object, object] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Stub:
    """An object of no use here, of a class that is known to be harmless. Its content is forgotten."""

    name: Name


def shown(value: object) -> str:
    """An object in a sentence: short texts and numbers as they are, others by their kind (they may be huge)."""
    return repr(value)[:60] if value is None or type(value) in (str, int, float, bool) else kind_of(value)


def kind_of(value: object) -> str:
    """What to call an object in a sentence."""
    if isinstance(value, Module):
        return f"a module {value.class_name[:40]!r}"
    if isinstance(value, Name):
        return f"the name {str(value)[:80]!r}"
    words = {Tensor: "a tensor", Array: "an array", Storage: "a storage", Text: "a text", str: "a text"}
    return words.get(type(value), f"a {type(value).__name__}")
