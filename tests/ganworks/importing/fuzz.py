"""Valid checkpoints, changed at random, through the reader: it may refuse, and do nothing else.

    python -m tests.ganworks.importing.fuzz --inputs 200000

`check` is what must hold of any bytes: they are read or refused; nothing is imported, opened, compiled or started
meanwhile (Python's own audit events tell); memory stays within four times the file's size and a fixed part; and it is
over soon.
"""

import argparse
import io
import random
import sys
import time
import tracemalloc
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any

import numpy as np
import torch

from ganworks.importing import torchfiles
from ganworks.importing.convert import convert
from ganworks.importing.refusal import MAX_EXPANSION, MIB, Refused

from .instructions import changed_instructions
from .writer import (
    Call,
    Name,
    average,
    from_network,
    generator,
    legacy,
    network,
    pickled,
    rosinality,
    snapshot,
    tiny,
    zipped,
)

MAX_SECONDS = 5.0  # of the processor
FIXED_BYTES = 24 * MIB  # for Python's objects, whatever the file's size
FORBIDDEN = (
    "import",
    "open",
    "exec",
    "compile",
    "os.",
    "subprocess.",
    "socket.",
    "ctypes.",
    "pickle.",
    "shutil.",
)
WORDS: dict[str, Any] = {
    "given": {"label": None, "license": None, "description": None, "classes": []},
    "known": None,
    "name": "x",
}
NUMBERS = [
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**63 - 1,
    2**64 - 1,
]
OPCODES = bytes(range(256))
LIKELY = b"}](tuesNRb\x81\x85\x86\x87\x88\x89\x8c\x8a\x8b\x94hjqrKMJGXCBQc\x93\x95\x96\x8d\x8e\x8f\x90."

watching = False
events: list[str] = []


def audit(event: str, arguments: tuple[Any, ...]) -> None:
    """Note what must not happen."""
    if watching and event.startswith(FORBIDDEN):
        events.append(f"{event} {arguments!r}"[:300])


def check(data: bytes, *, measure: bool = False) -> str:
    """Read the bytes as a checkpoint. Returns why they are refused, or "read". AssertionError if anything else happens."""
    global watching
    events.clear()
    start = time.process_time()
    if measure:
        tracemalloc.start()
    watching = True
    try:
        convert(memoryview(data), io.BytesIO(), WORDS, lambda share, stage: None)
        result = "read"
    except Refused as refusal:
        result = refusal.reason
    finally:
        watching = False
        peak = tracemalloc.get_traced_memory()[1] if measure else 0
        tracemalloc.stop()
    assert "\n" not in result, result
    assert len(result) < 500, result
    assert not events, events
    assert time.process_time() - start < MAX_SECONDS, "it took too long"
    assert peak <= MAX_EXPANSION * len(data) + FIXED_BYTES, f"{peak} bytes for a file of {len(data)}"
    return result


@cache
def seeds() -> dict[str, bytes]:
    """Valid files of all kinds. Those from the vectors are larger, and come up less often."""
    whole: dict[str, Any] = {
        "G_ema": from_network(tiny()),
        "G": None,
        "D": None,
        "augment_pipe": None,
        "training_set_kwargs": {},
    }
    classes = {"G_ema": from_network(tiny(c_dim=2, architecture="resnet"))}
    found = {f"ada {protocol}": pickled(whole, protocol) for protocol in (2, 3, 4, 5)}
    found |= {"ada old": pickled(classes, 3, old=True), "pti": zipped(from_network(tiny()))}
    found |= {"pti old": legacy(from_network(tiny(architecture="orig")))}
    found |= {"rosinality": zipped({"g_ema": small(rosinality()), "latent_avg": average()[:4]})}
    found |= {"rosinality old": legacy(small(rosinality()))}
    return found


@cache
def large_seeds() -> dict[str, bytes]:
    """Files of the kinds that need their vectors."""
    found = {
        name: pickled(snapshot(name), protocol) for name, protocol in (("alis", 4), ("sg3r", 4), ("sg3t", 5))
    }
    found |= {
        "tf": pickled(snapshot("tf"), 4),
        "tf 2": pickled(snapshot("tf"), 2),
        "sg3 zip": zipped(generator("sg3t")),
    }
    found |= {"own": own_file()}
    return found


def small(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same with few channels; it no longer fits together, and is read up to there."""
    return {key: value[tuple(slice(0, 2) for _ in value.shape)].clone() for key, value in state.items()}


def own_file() -> bytes:
    """A file of PixelLift's own format."""
    file = io.BytesIO()
    convert(memoryview(pickled(snapshot("skip"))), file, WORDS, lambda share, stage: None)
    return file.getvalue()


# --- Changes ------------------------------------------------------------------------------------------------


def flip(data: bytearray, dice: random.Random) -> None:
    data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def byte(data: bytearray, dice: random.Random) -> None:
    data[dice.randrange(len(data))] = dice.choice(LIKELY if dice.random() < 0.7 else OPCODES)


def number(data: bytearray, dice: random.Random) -> None:
    """An extreme number where one may be expected."""
    width = dice.choice((1, 2, 4, 8))
    place = dice.randrange(len(data))
    value = (dice.choice(NUMBERS) % 2 ** (8 * width)).to_bytes(width, dice.choice(("little", "big")))
    data[place : place + width] = value


def insert(data: bytearray, dice: random.Random) -> None:
    place = dice.randrange(len(data))
    data[place:place] = bytes(dice.choice(LIKELY) for _ in range(dice.randrange(1, 12)))


def remove(data: bytearray, dice: random.Random) -> None:
    place = dice.randrange(len(data))
    del data[place : place + dice.choice((1, 2, 5, 20, 300))]


def repeat(data: bytearray, dice: random.Random) -> None:
    place, length = dice.randrange(len(data)), dice.choice((2, 8, 60, 400))
    data[place:place] = data[place : place + length] * dice.randrange(1, 4)


def move(data: bytearray, dice: random.Random) -> None:
    first, second, length = dice.randrange(len(data)), dice.randrange(len(data)), dice.choice((4, 40, 400))
    data[second:second] = data[first : first + length]


def truncate(data: bytearray, dice: random.Random) -> None:
    del data[dice.randrange(1, len(data) + 1) :]


def word(data: bytearray, dice: random.Random) -> None:
    """Another word where a known one stands, so that the structure holds and the meaning does not."""
    known = dice.choice(WORDS_INSIDE)
    place = data.find(known, dice.randrange(len(data)))
    if place >= 0:
        data[place : place + len(known)] = dice.choice(WORDS_INSIDE).ljust(len(known), b"x")[: len(known)]


WORDS_INSIDE = [
    b"_modules", b"_buffers", b"_parameters", b"synthesis", b"mapping", b"weight", b"bias", b"affine", b"conv0",
    b"conv1", b"torgb", b"b4", b"b8", b"fc0", b"G_ema", b"class", b"state", b"activation", b"lrelu", b"FloatStorage",
    b"HalfStorage", b"LongStorage", b"storage", b"collections", b"OrderedDict", b"_rebuild_tensor_v2", b"numpy",
    b"dtype", b"f4", b"scalar", b"data.pkl", b"data/0", b"archive", b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06",
    b"dlatent_avg", b"variables", b"components", b"static_kwargs", b"layer_names", b"in_size", b"padding", b"w_avg",
]  # fmt: skip
CHANGES: list[Callable[[bytearray, random.Random], None]] = [
    flip, byte, byte, number, number, insert, remove, repeat, move, truncate, word, word,
]  # fmt: skip


def changed(data: bytes, dice: random.Random) -> bytes:
    """The same file after a few changes."""
    found = bytearray(data)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 6))):
        if found:
            dice.choice(CHANGES)(found, dice)
    return bytes(found)


# --- Changes of objects, before they are written ----------------------------------------------------------------


def trees() -> list[Callable[[], Any]]:
    """What makes the objects of each kind of checkpoint."""
    vectors = ("skip", "cond", "orig", "resnet", "sg3t", "sg3r", "alis", "tf")
    found: list[Callable[[], Any]] = [partial(snapshot, name) for name in vectors]
    found += [lambda: {"g_ema": rosinality(), "latent_avg": average()}]
    return found + [lambda: {"G_ema": from_network(tiny(c_dim=2, architecture="resnet"))}] * 24


def slots(value: Any, depth: int = 0) -> list[tuple[Any, Any]]:
    """All places in an object where another value can be put: (container, key)."""
    if isinstance(value, Call):
        parts = [part for part in (value.arguments, value.state, value.items) if part is not None]
        return [slot for part in parts for slot in slots(part, depth + 1)]
    if isinstance(value, tuple):
        return [slot for part in value for slot in slots(part, depth + 1)]
    if not isinstance(value, dict | list) or depth > 40:
        return []
    pairs = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    return [(value, key) for key, _ in pairs] + [slot for _, part in pairs for slot in slots(part, depth + 1)]


def strange(dice: random.Random, others: list[tuple[Any, Any]]) -> Any:
    """A value that is not expected anywhere, or one from elsewhere."""
    container, key = dice.choice([slot for slot in others if isinstance(slot[0], list) or slot[1] in slot[0]])
    shape = tuple(dice.choice((0, 1, 2, 3, 4, 64)) for _ in range(dice.randrange(5)))
    return dice.choice(
        [
            None, True, 0, -1, 2**40, 2**100, 0.5, float("nan"), float("inf"), 1e300, "", "x", "lrelu", "a" * 70_000,
            "${a.b}", b"", b"x" * 300, [], {}, (), [[]], [[[None] * 9] * 9] * 9, {"a": {"b": 1}}, {1: 2}, {"": None},
            torch.zeros(shape), torch.ones(shape).half(), torch.zeros(shape, dtype=torch.int64), np.zeros(shape, ">f8"),
            np.float32(1), np.int64(-5), np.zeros(3, np.int32), np.asfortranarray(np.ones((2, 3), np.float32)),
            torch.zeros(4).expand(3, 4), set(), {"a"}, OrderedDict(x=1), Name("typing", "Any"), Name("builtins", "dict"),
            Call(Name("omegaconf.dictconfig", "DictConfig"), (), new=True), network({"variables": []}), container,
            container[key], from_network(tiny()), average(),
        ]
    )  # fmt: skip


def changed_objects(dice: random.Random) -> bytes:
    """A checkpoint of which a few objects are others than they should be."""
    whole = dice.choice(trees())()
    places = slots(whole)
    for _ in range(dice.choice((1, 1, 2, 4))):
        container, key = dice.choice(places)
        if dice.random() < 0.2 and isinstance(container, dict):
            container.pop(key, None)
        else:
            container[key] = strange(dice, places)
    try:
        form = dice.choice(["2", "4", "5", "zip", "legacy"])
        return (
            zipped(whole)
            if form == "zip"
            else legacy(whole)
            if form == "legacy"
            else pickled(whole, int(form))
        )
    except (
        AssertionError,
        RecursionError,
        LookupError,
        ValueError,
    ):  # it holds itself, or what nobody can write
        return pickled({"G_ema": None})


def plain_pickles(files: Iterable[bytes]) -> list[bytes]:
    """Those that are one pickle each."""
    return [data for data in files if data[:1] == b"\x80" and not data.startswith(torchfiles.LEGACY_START)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--large", type=float, default=0.03, help="the share of large files")
    parser.add_argument("--objects", action="store_true", help="change objects before they are written")
    parser.add_argument("--instructions", action="store_true", help="change the instructions of pickles")
    arguments = parser.parse_args()
    dice, results = random.Random(arguments.seed), Counter[str]()
    np.seterr(all="ignore")
    lots = [list(seeds().values()), list(large_seeds().values())]
    for lot in lots:
        for data in lot:
            check(data)
    sys.addaudithook(audit)
    start = time.monotonic()
    for index in range(arguments.inputs):
        if arguments.objects:
            data = changed_objects(dice)
        elif arguments.instructions:
            pickles = plain_pickles(lots[dice.random() < arguments.large])
            data = changed_instructions(dice.choice(pickles), dice.choice(plain_pickles(lots[0])), dice)
        else:
            data = changed(dice.choice(lots[dice.random() < arguments.large]), dice)
        try:
            results[check(data, measure=index % 40 == 0)[:60]] += 1
        except BaseException:
            with open(f"fuzz-{arguments.seed}-{index}.bin", "wb") as file:
                file.write(data)
            raise
        if index % 2_000 == 1_999:
            sys.stdout.write(
                f"{index + 1} inputs, {time.monotonic() - start:.0f} s, {len(results)} outcomes\n"
            )
            sys.stdout.flush()
    for result, count in results.most_common(60):
        sys.stdout.write(f"{count:8} {result}\n")


if __name__ == "__main__":
    main()
