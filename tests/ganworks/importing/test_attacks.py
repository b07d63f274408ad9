"""Files by somebody who controls every byte and knows this code: each costs little time and memory, and is refused."""

import io
import time
import tracemalloc
from typing import Any

import pytest

from ganworks.importing.convert import convert
from ganworks.importing.refusal import MIN_BUDGET_BYTES, Refused

from .assembler import array, dictionary, get, module, name, pickle_of, put, state, text, whole

WORDS: dict[str, Any] = {
    "name": "file.pkl",
    "given": {"label": None, "license": None, "description": None, "classes": []},
    "known": None,
}
SECONDS = 10  # of the processor


def refusal(data: bytes) -> str:
    """Why a file is refused; it must not take long to say so."""
    start = time.process_time()
    with pytest.raises(Refused) as caught:
        convert(memoryview(data), io.BytesIO(), WORDS, lambda share, stage: None)
    assert time.process_time() - start < SECONDS
    return caught.value.reason


def peak_bytes(data: bytes) -> int:
    """The most memory that is taken at once while the file is refused."""
    tracemalloc.start()
    try:
        refusal(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def snapshot(generator: bytes) -> bytes:
    return pickle_of(dictionary(G_ema=generator))


def repeated(first: bytes, times: int) -> bytes:
    """The entries of a dictionary that are all one object, remembered as 9."""
    return b"".join(text(f"{i:x}") + (get(9) if i else first + put(9)) for i in range(times))


# --- Memory ---------------------------------------------------------------------------------------------------


def calls(function: bytes, argument: bytes, times: int) -> bytes:
    """The same call again and again, each giving a new object."""
    once = get(2) + get(1) + b"R"
    return pickle_of(argument, b"\x85", put(1), b"]", function, put(2), b"(", once * times, b"e\x86\x86")


def pairs(count: int) -> bytes:
    return b"](" + b"".join(text(f"{i:x}") + b"N\x86" for i in range(count)) + b"e"


AMPLIFIERS = {
    "empty dictionaries": pickle_of(b"](", b"}" * 399_000, b"e"),
    "empty lists": pickle_of(b"](", b"]" * 399_000, b"e"),
    "notes of nothing": pickle_of(b"](", b"N\x94" * 199_000, b"e"),
    "copies of a list": calls(name("builtins", "set"), b"](" + b"N" * 90_000 + b"e", 30_000),
    "copies of a dictionary": calls(name("builtins", "dict"), pairs(30_000), 30_000),
    "texts with one wide character": pickle_of(b"](", text("a" * 60_000 + "\U0001f600") * 90, b"e"),
    "one group of tensors for many modules": snapshot(
        module(
            state(
                modules=b"}("
                + repeated(module(state(parameters=b"}(" + repeated(array(0), 5_000) + b"u")), 19_000)
                + b"u"
            )
        )
    ),
    "one group of attributes for many modules": snapshot(
        module(
            state(
                modules=b"}("
                + repeated(module(state(**{f"a{i}": b"N" for i in range(30_000)})), 19_000)
                + b"u"
            )
        )
    ),
}


@pytest.mark.parametrize("attack", AMPLIFIERS)
def test_no_file_makes_more_of_itself_than_four_times_its_size(attack: str) -> None:
    data = AMPLIFIERS[attack]
    assert peak_bytes(data) <= max(4 * len(data), MIN_BUDGET_BYTES)


# --- Time -----------------------------------------------------------------------------------------------------


def test_keys_that_python_files_under_one_hash_are_refused() -> None:
    step = 2**61 - 1  # the hash of a whole number is its remainder by this
    data = pickle_of(b"}(", *(whole(i * step) + b"N" for i in range(1, 30_000)), b"u")
    assert "where texts and numbers are known" in refusal(data)


def test_names_of_modules_that_add_up_to_megabytes_are_refused() -> None:
    nested = module(state(parameters=b"}(" + repeated(array(0), 1_000) + b"u"))
    for _ in range(15):
        nested = module(state(modules=dictionary(**{"n" * 60_000: nested})))
    assert peak_bytes(snapshot(nested)) <= MIN_BUDGET_BYTES
