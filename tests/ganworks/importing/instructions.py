"""Changes of pickles instruction by instruction, for fuzzing: what comes out is a pickle still, and means another thing."""

import pickletools
import random
import struct
from functools import cache

from .assembler import blob, name, put, text

WHOLE_NUMBERS = [
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    16,
    64,
    127,
    255,
    256,
    1024,
    65535,
    2**20,
    2**31 - 1,
    2**31,
    2**40,
    2**63,
    2**100,
]
FLOATS = [0.0, 1.0, -1.0, 2**0.5, 1e-9, 256.0, 1e308, float("nan"), float("inf"), -float("inf")]
TEXTS = [
    "", "a" * 70_000, "\x1b[31m", "\u202e", "\U0001f600", "../x", "__metadata__", "__class__", "_modules", "_parameters",
    "_buffers", "synthesis", "mapping", "input", "b4", "b4096", "fc0", "L0_36_512", "weight", "bias", "lrelu", "linear",
    "G_ema", "g_ema", "class", "layer_names", "latin1", "f4", "O", "<f4", "${a.b}",
]  # fmt: skip
NAMES = [
    ("os", "system"), ("builtins", "eval"), ("builtins", "dict"), ("builtins", "set"), ("builtins", "bytearray"),
    ("collections", "OrderedDict"), ("dnnlib.util", "EasyDict"), ("torch", "FloatStorage"), ("torch", "Size"),
    ("torch._utils", "_rebuild_tensor_v2"), ("torch._utils", "_rebuild_parameter"), ("_codecs", "encode"),
    ("torch.storage", "_load_from_bytes"), ("numpy", "dtype"), ("numpy", "ndarray"),
    ("numpy._core.multiarray", "scalar"), ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.numeric", "_frombuffer"), ("torch_utils.persistence", "_reconstruct_persistent_obj"),
    ("dnnlib.tflib.network", "Network"), ("argparse", "Namespace"),
]  # fmt: skip
SINGLE = [bytes([code]) for code in b"N\x88\x89]})(etuaesbRQ.\x81\x85\x86\x87\x8f\x90\x91\x93\x94\x92\x98P0"]
NEAR = 300  # instructions


@cache
def split(data: bytes) -> tuple[bytes, ...]:
    """The instructions of a pickle, less frames, which would hold any change to its length."""
    found = list(pickletools.genops(data))
    ends = [place for _, _, place in found[1:]] + [len(data)]
    return tuple(
        data[place:end]
        for (operation, _, place), end in zip(found, ends, strict=True)
        if operation.name != "FRAME" and place is not None and end is not None
    )


def changed_instructions(data: bytes, other: bytes, dice: random.Random) -> bytes:
    """The same pickle after a few changes of its instructions, some of which come from another pickle."""
    found, more = list(split(data)), split(other)
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        place, length = dice.randrange(1, len(found)), dice.choice((1, 1, 2, 5, 20))
        kind = dice.randrange(7)
        if kind == 0:
            del found[place : place + length]
        elif kind == 1:
            found[place:place] = found[place : place + 10 * length] * dice.choice((1, 2))
        elif kind == 2:
            start = dice.randrange(1, len(more))
            found[place : place + dice.choice((0, 1, 5))] = more[start : start + 5 * length]
        elif kind == 3:
            found[place:place] = [instruction(dice) for _ in range(length)]
        elif kind == 4:
            found[place] = like(found[place], dice)
        else:
            near = range(max(1, place - NEAR), min(len(found), place + NEAR))
            numbers = [index for index in near if found[index][:1] in (b"K", b"M", b"J", b"X", b"\x8c")]
            if numbers:
                chosen = dice.choice(numbers)
                found[chosen] = like(found[chosen], dice)
    return b"".join(found)


def instruction(dice: random.Random) -> bytes:
    """Any instruction."""
    examples = [
        number(dice),
        text(dice.choice(TEXTS)),
        float_of(dice),
        dice.choice(SINGLE),
        name(*dice.choice(NAMES)),
    ]
    examples += [
        b"h" + dice.randbytes(1),
        put(dice.randrange(6000)),
        b"j" + struct.pack("<I", dice.randrange(6000)),
    ]
    return dice.choice([*examples, blob(dice.randbytes(dice.choice((0, 1, 4, 8, 64, 300))))])


def like(old: bytes, dice: random.Random) -> bytes:
    """Another instruction of the kind of an old one: a number for a number, a text for a text."""
    code = old[:1]
    if code in (b"K", b"M", b"J", b"\x8a"):
        return number(dice)
    if code in (b"\x8c", b"X"):
        return text(dice.choice(TEXTS))
    if code == b"G":
        return float_of(dice)
    if code in (b"h", b"j"):
        return b"j" + struct.pack("<I", dice.randrange(6000))
    if code in (b"B", b"C") and len(old) > 12:
        place = dice.randrange(5, min(len(old), 400))
        return old[:place] + dice.randbytes(1) + old[place + 1 :]
    return instruction(dice)


def number(dice: random.Random) -> bytes:
    value = dice.choice(WHOLE_NUMBERS) * dice.choice((1, 1, 1, -1))
    if 0 <= value < 256:
        return b"K" + bytes([value])
    raw = value.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def float_of(dice: random.Random) -> bytes:
    return b"G" + struct.pack(">d", dice.choice(FLOATS))
