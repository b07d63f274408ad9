"""The pickle machine: plain data as Python reads it, and nothing else."""

import pickle
import struct
from collections import OrderedDict
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ganworks.importing.pickles import Machine
from ganworks.importing.records import Array, Text, plain_bytes
from ganworks.importing.refusal import Budget, Refused
from ganworks.importing.tensors import weights
from ganworks.importing.vocabulary import Vocabulary

from .assembler import blob, get, name, pickle_of, put, text, whole
from .writer import pickled

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**100), 2**100)
    | st.floats(allow_nan=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers(0, 2**50), inner, max_size=4)
    ),
    max_leaves=20,
)


def run(data: bytes) -> Any:
    budget = Budget(len(data))
    return Machine(memoryview(data), Vocabulary(budget), budget).run()


def refusal(data: bytes) -> str:
    with pytest.raises(Refused) as caught:
        run(data)
    return caught.value.reason


@given(PLAIN, st.sampled_from([2, 3, 4, 5]))
def test_plain_data_is_read_as_python_reads_it(value: Any, protocol: int) -> None:
    assert run(pickle.dumps(value, protocol)) == value


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    with suppress(Refused):
        run(b"\x80\x04" + data)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("size", [0, 3, 1000, 300_000])
def test_bytes_are_slices_of_the_file_or_texts_that_stand_for_bytes(size: int, protocol: int) -> None:
    value = np.random.RandomState(size).bytes(size)
    found = run(pickled({"a": value}, protocol))["a"]
    if not isinstance(found, memoryview):
        found = plain_bytes(found, Budget(size))
    assert bytes(found) == value


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("form", ["<f4", ">f4", "<f8", ">f8", "<f2"])
def test_arrays_of_all_formats_and_orders_are_read(protocol: int, old: bool, order: Any, form: str) -> None:
    value = np.asarray(np.random.RandomState(0).randn(3, 4, 2), dtype=form, order=order)
    found = run(pickled([value, value[0, 0, 0]], protocol, old=old))
    assert isinstance(found[0], Array)
    read = weights(found[0], Budget(10_000)).floats()
    assert np.array_equal(read, value.astype(np.float32))
    assert found[1] == float(value[0, 0, 0])


def test_names_of_python_2_and_sets_are_plain_data() -> None:
    assert run(pickle.dumps({"a": {1}, "b": frozenset([2]), "c": OrderedDict(x=1)}, 2)) == {
        "a": [1],
        "b": [2],
        "c": {"x": 1},
    }


def test_a_long_text_stays_where_it_is() -> None:
    found = run(pickle.dumps("a" * 100_000))
    assert isinstance(found, Text)
    assert len(found.utf8) == 100_000


REFUSED = {
    "protocol 0": (pickle.dumps([1], 0), "protocol 2"),
    "protocol 9": (b"\x80\x09N.", "not one of 2 to 5"),
    "an extension": (pickle_of(b"\x82\x01"), "extension registry"),
    "a long extension": (pickle_of(b"\x84\x01\x00\x00\x00"), "extension registry"),
    "a persistent text": (pickle_of(b"Pabc\n"), "outside of the file"),
    "a persistent object": (pickle_of(text("x"), b"Q"), "outside of the file"),
    "a buffer from outside": (pickle_of(b"\x97"), "outside of the file"),
    "an object of old": (pickle_of(b"(ios\nsystem\n"), "protocols 0 and 1"),
    "named arguments": (pickle_of(b")}\x92"), "named arguments"),
    "a text of Python 2": (pickle_of(b"U\x01a"), "Python 2"),
    "an unknown instruction": (pickle_of(b"\xff"), "unknown instruction"),
    "two objects": (pickle_of(b"NN"), "middle of an object"),
    "an open mark": (pickle_of(b"(N"), "middle of an object"),
    "no object": (pickle_of(), "not there"),
    "too few for a tuple": (pickle_of(b"N\x86"), "not there"),
    "no mark": (pickle_of(b"Nt"), "not there"),
    "a memo that is empty": (pickle_of(get(7)), "not there"),
    "a text that lies": (b"\x80\x04X\xff\xff\xff\xffabc.", "lies about a length"),
    "a long text that lies": (b"\x80\x04\x8d" + struct.pack("<Q", 2**63) + b"abc.", "lies about a length"),
    "bytes that lie": (b"\x80\x05\x96" + struct.pack("<Q", 2**64 - 1) + b"abc.", "lies about a length"),
    "a frame that lies": (b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N.", "length of a frame"),
    "a huge number": (b"\x80\x04\x8a\xff" + bytes(255) + b".", "absurd length"),
    "a number of gigabytes": (b"\x80\x04\x8b\xff\xff\xff\x7f" + bytes(50) + b".", "absurd length"),
    "a number of negative length": (b"\x80\x04\x8b\xff\xff\xff\xff" + bytes(50) + b".", "absurd length"),
    "a text that is no text": (pickle_of(b"X\x02\x00\x00\x00\xff\xfe"), "malformed"),
    "a surrogate": (pickle_of(b"X\x03\x00\x00\x00\xed\xa0\x80"), "malformed"),
    "the same key twice": (pickle_of(b"}(", text("a") + b"N" + text("a") + b"N", b"u"), "comes twice"),
    "a tuple as a key": (pickle_of(b"}()Nu"), "is a key"),
    "a number as a key of the same hash": (pickle_of(b"}(", whole(2**61) + b"N", b"u"), "is a key"),
    "items for a tuple": (pickle_of(b")N", b"a"), "adds items"),
    "items for a number": (pickle_of(b"K\x01NN", b"s"), "sets items"),
    "a key without a value": (pickle_of(b"}(", text("a"), b"u"), "sets items"),
    "marks without end": (pickle_of(b"(" * 2000), "nested more than"),
    "a call of a text": (pickle_of(text("os.system"), b")R"), "calls a text"),
    "a call without a tuple": (pickle_of(name("collections", "OrderedDict"), b"NR"), "calls something"),
    "a state for a list": (pickle_of(b"]}b"), "gives a state"),
    "a list that holds itself": (pickle_of(b"]", put(1), get(1), b"a"), "holds itself"),
    "two lists that hold each other": (pickle_of(b"]", put(1), b"]", get(1), b"aa"), "holds itself"),
    "a dictionary that holds itself": (pickle_of(b"}", put(1), text("a"), get(1), b"s"), "holds itself"),
    "a deep tuple": (pickle_of(b")" + b"\x85" * 300), "nested more than"),
    "a global in two lines": (pickle_of(b"cos\nsystem\n"), "os.system"),
    "a global of builtins": (pickle_of(name("builtins", "eval")), "builtins.eval"),
    "a global with dots": (
        pickle_of(text("collections"), text("OrderedDict.__init__"), b"\x93"),
        "not on the list",
    ),
    "a global of numbers": (pickle_of(b"K\x01K\x02\x93"), "malformed"),
    "a global without an end": (pickle_of(b"c" + b"a" * 1000), "too long"),
    "a global in another script": (pickle_of(name("\u0441ollections", "OrderedDict")), "not on the list"),
    "a global with a line in it": (pickle_of(text("os\nx"), text("system"), b"\x93"), "not on the list"),
    "a storage without a container": (pickle_of(name("torch", "FloatStorage"), b")R"), "calls the name"),
    "a loader of torch": (pickle_of(name("torch.serialization", "load")), "torch.serialization.load"),
    "a loader of numpy": (pickle_of(name("numpy", "load")), "numpy.load"),
    "a codec": (pickle_of(name("_codecs", "encode"), text("a"), text("zip"), b"\x86R"), "malformed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_checkpoint_needs_is_refused(case: str) -> None:
    data, sentence = REFUSED[case]
    reason = refusal(data)
    assert sentence in reason, reason
    assert "\n" not in reason


def form(code: str, *state: bytes) -> bytes:
    given = name("numpy", "dtype") + text(code) + b"\x85R"
    return given + (b"(" + b"".join(state) + b"tb" if state else b"")


OBJECTS = {
    "objects": form("O8"),
    "a field of objects": form("V8"),
    "a structure": form("f4", b"K\x03", text("<"), b"N", b"(", text("a"), b"t", b"N"),
    "texts": form("U4"),
    "dates": form("M8"),
    "complex numbers": form("c16"),
    "a strange order": form("f4", b"K\x03", text("?"), b"NNN"),
    "a list as a format": name("numpy", "dtype") + b"]\x85R",
    "no format": name("numpy", "dtype") + b")R",
}


@pytest.mark.parametrize("case", OBJECTS)
def test_arrays_of_anything_but_numbers_are_refused(case: str) -> None:
    assert "format in it is malformed" in refusal(pickle_of(OBJECTS[case])) or "numbers are known" in refusal(
        pickle_of(OBJECTS[case])
    )


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        (b"K\x03\x85", bytes(8)),
        (b"K\x03\x85", bytes(16)),
        (b"J\xff\xff\xff\xff\x85", bytes(4)),
        (whole(2**62) + whole(4) + b"\x86", b""),
        (b"]", bytes(4)),
        (b"N", bytes(4)),
    ],
)
def test_arrays_of_another_size_than_their_shape_needs_are_refused(shape: bytes, data: bytes) -> None:
    array = (
        name("numpy._core.numeric", "_frombuffer")
        + b"("
        + blob(data)
        + form("f4")
        + shape
        + text("C")
        + b"tR"
    )
    assert "array" in refusal(pickle_of(array))


def test_an_array_gets_its_state_once() -> None:
    empty = (
        name("numpy._core.multiarray", "_reconstruct") + name("numpy", "ndarray") + b"K\x00\x85C\x01b\x87R"
    )
    state = b"(K\x01K\x01\x85" + form("f4") + b"\x89" + blob(bytes(4)) + b"tb"
    assert isinstance(run(pickle_of(empty, state)), Array)
    assert "array in it is malformed" in refusal(pickle_of(empty, state, state))


def test_a_number_of_another_size_than_its_format_is_refused() -> None:
    scalar = name("numpy._core.multiarray", "scalar") + form("f8") + blob(bytes(4)) + b"\x86R"
    assert "number in it is malformed" in refusal(pickle_of(scalar))
