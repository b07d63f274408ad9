"""Tensors and arrays from records: every size, stride and offset is checked against the bytes that are there.

Nothing is read before it is asked for: `Weights` know their shape, and become numbers when they are written.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ganworks.importing.records import Array, Bytes, DType, Storage, Tensor, kind_of, plain_bytes, shown
from ganworks.importing.refusal import TENSOR_BYTES, Budget, Refused

MAX_DIMENSIONS = 8
MAX_SIDE = 2**40
BFLOAT16 = "bfloat16"
# Classes of torch storages: the numpy format, and the bytes of a number.
STORAGES = {
    "Half": ("<f2", 2),
    "BFloat16": (BFLOAT16, 2),
    "Float": ("<f4", 4),
    "Double": ("<f8", 8),
    "Char": ("|i1", 1),
    "Byte": ("|u1", 1),
    "Bool": ("|u1", 1),
    "Short": ("<i2", 2),
    "Int": ("<i4", 4),
    "Long": ("<i8", 8),
}
# Formats of numpy: floats, whole numbers, truth values.
NUMPY_CODES = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"}
FLOATS = {"f2", "f4", "f8"}

Floats = npt.NDArray[np.float32]


def tensor(storage: object, offset: object, shape: object, strides: object) -> Tensor:
    """A view of a storage, which must lie within it and hold no number twice."""
    if not isinstance(storage, Storage):
        raise Refused(f"a tensor in it lies in {kind_of(storage)}")
    sides, steps = (
        whole_numbers(shape, "the shape of a tensor"),
        whole_numbers(strides, "the strides of a tensor"),
    )
    (start,) = whole_numbers((offset,), "the offset of a tensor")
    if len(sides) != len(steps):
        raise Refused("a tensor in it has another number of strides than of sides")
    count = math.prod(sides)
    last = start + sum((side - 1) * step for side, step in zip(sides, steps, strict=True))
    if start > storage.count or (count and (last >= storage.count or count > storage.count)):
        raise Refused("a tensor in it reaches beyond its storage")
    sides_of(shape, "the shape of a tensor")
    return Tensor(storage, start, sides, steps)


def whole_numbers(values: object, what: str) -> tuple[int, ...]:
    """A tuple of whole numbers from 0 on."""
    if type(values) is not tuple or len(values) > MAX_DIMENSIONS:
        raise Refused(f"{what} in it is malformed")
    if not all(type(value) is int and 0 <= value <= MAX_SIDE for value in values):
        raise Refused(f"{what} in it is malformed")
    return values


def sides_of(shape: object, what: str) -> tuple[int, ...]:
    """The sides of something that fits into addresses; numpy wants that even where one of them is 0."""
    sides = whole_numbers(shape, what)
    if math.prod(max(side, 1) for side in sides) > MAX_SIDE:
        raise Refused(f"{what} in it is absurd")
    return sides


def dtype(code: object) -> DType:
    """A numpy format by its code. Objects, texts, dates and structures are refused."""
    if not isinstance(code, str) or code.lstrip("<>|=") not in NUMPY_CODES:
        raise Refused(f"it has an array of {shown(code)} where numbers are known")
    return DType(code.lstrip("<>|="), ">" if code.startswith(">") else "<")


def check_array(array: Array) -> None:
    """The bytes of an array must be as many as its shape needs (those in a text are counted when they are read)."""
    sides_of(array.shape, "the shape of an array")
    if isinstance(array.data, memoryview) and len(array.data) != math.prod(array.shape) * _width(array.dtype):
        raise Refused("an array in it has another size than its shape needs")


def scalar(format_of: object, data: object, budget: Budget) -> int | float | bool:
    """A numpy scalar as a number of Python's."""
    if not isinstance(format_of, DType) or not isinstance(data, Bytes):
        raise Refused("a number in it is malformed")
    raw = plain_bytes(data, budget)
    if len(raw) != _width(format_of):
        raise Refused("a number in it is malformed")
    value: int | float | bool = np.frombuffer(raw, _numpy(format_of))[0].item()
    return value


def numbers(array: Array, budget: Budget) -> list[Any]:
    """The numbers of a short array, as Python's: the sizes that StyleGAN3 keeps in arrays."""
    if math.prod(array.shape) > MAX_DIMENSIONS:
        raise Refused("it has a long array where a few numbers are expected")
    found: list[Any] = _array_values(array, budget).ravel().tolist()
    return found


def _width(format_of: DType) -> int:
    return int(format_of.code[1:])


def _numpy(format_of: DType) -> np.dtype[Any]:
    return np.dtype(format_of.order + format_of.code)


# --- Weights ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Weights:
    """A tensor that is yet to be read: `read` gives its numbers, of `shape`, as a view or a copy."""

    shape: tuple[int, ...]
    read: Callable[[], npt.NDArray[Any]]

    def changed(
        self, shape: Sequence[int], change: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
    ) -> "Weights":
        """The same after `change`, which gives the shape `shape`."""
        read = self.read
        return Weights(tuple(shape), lambda: change(read()))

    def reshaped(self, *shape: int) -> "Weights":
        """With other sides, which must hold as many numbers."""
        if math.prod(shape) != math.prod(self.shape):
            raise Refused(f"a tensor in it has the shape {list(self.shape)}, where {list(shape)} is needed")
        return self.changed(shape, lambda values: values.reshape(shape))

    def transposed(self, *axes: int) -> "Weights":
        if len(axes) != len(self.shape):
            raise Refused(f"a tensor in it has {len(self.shape)} sides, where {len(axes)} are needed")
        return self.changed([self.shape[axis] for axis in axes], lambda values: values.transpose(axes))

    def floats(self) -> Floats:
        """The numbers in order, which must be finite, as float32."""
        values = self.read()
        with np.errstate(over="ignore"):
            found = np.ascontiguousarray(values, dtype=np.float32).reshape(self.shape)
        if not np.isfinite(found).all():
            raise Refused("a tensor in it holds numbers that are not finite")
        return found


def constant(value: float, *shape: int) -> Weights:
    """Weights that are all the same."""
    return Weights(shape, lambda: np.full(shape, value, np.float32))


def weights(value: object, budget: Budget) -> Weights:
    """Weights from a tensor, an array or a number. What it takes to write them is taken from the budget here."""
    if isinstance(value, Tensor):
        tensor_value = value
        if STORAGES[value.storage.code][0] not in ("<f2", "<f4", "<f8", BFLOAT16):
            raise Refused("it has whole numbers where weights are expected")
        found = Weights(value.shape, lambda: _tensor_values(tensor_value, budget))
    elif isinstance(value, Array):
        array = value
        if value.dtype.code not in FLOATS or value.data is None:
            raise Refused("it has whole numbers where weights are expected")
        found = Weights(value.shape, lambda: _array_values(array, budget))
    elif type(value) in (int, float):
        number: Any = value
        found = Weights((), lambda: np.asarray(number, dtype=np.float64))
    else:
        raise Refused(f"it has {kind_of(value)} where weights are expected")
    if not math.prod(found.shape):
        raise Refused("it has an empty tensor")
    budget.spend(TENSOR_BYTES + 4 * math.prod(found.shape))
    return found


def _tensor_values(value: Tensor, budget: Budget) -> npt.NDArray[Any]:
    storage = value.storage
    code, width = STORAGES[storage.code]
    if storage.data is None:
        raise Refused("a storage in it is missing")
    raw = plain_bytes(storage.data, budget)[storage.offset : storage.offset + storage.count * width]
    if len(raw) != storage.count * width:
        raise Refused("a storage in it is cut short")
    form = np.dtype("<u2" if code == BFLOAT16 else code)
    strides = [step * width for step in value.strides]
    found: npt.NDArray[Any] = np.ndarray(value.shape, form, raw, value.offset * width, strides)
    if code == BFLOAT16:
        wide = found.astype(np.uint32)
        wide <<= 16
        return wide.view(np.float32)
    return found


def _array_values(value: Array, budget: Budget) -> npt.NDArray[Any]:
    if value.data is None:
        raise Refused("an array in it has no numbers")
    raw = plain_bytes(value.data, budget)
    if len(raw) != math.prod(value.shape) * _width(value.dtype):
        raise Refused("an array in it has another size than its shape needs")
    found: npt.NDArray[Any] = np.frombuffer(raw, _numpy(value.dtype))
    return found.reshape(value.shape, order="F" if value.fortran else "C")
