"""Generators in PixelLift's own format, which travel from one installation to another."""

import io
import json
import math
import struct

from ganworks import checkpoint
from ganworks.errors import CheckpointError
from ganworks.importing.found import Found
from ganworks.importing.graph import check_graph
from ganworks.importing.records import Storage
from ganworks.importing.refusal import UNKNOWN, Budget, Refused, refused
from ganworks.importing.tensors import tensor, weights

MAX_DIM = 8192
JSON_EXPANSION = 32  # how many times its length a JSON text may take once it is read
MAX_HEADER_BYTES = 1024 * 1024
CODES = {"F16": "Half", "BF16": "BFloat16", "F32": "Float", "F64": "Double"}  # as classes of storages
# What is taken over from a header; the rest is written anew.
KEPT = (
    "synthesis_architecture",
    "img_channels",
    "lr_multiplier",
    "conv_clamp",
    "channel_base",
    "channel_max",
    "plan",
    "classes",
    "crop",
)
TEXTS = ("label", "license", "description", "architecture")
NUMBERS = {
    "resolution": (4, 2**13),
    "z_dim": (1, MAX_DIM),
    "w_dim": (1, MAX_DIM),
    "num_ws": (1, 64),
    "num_layers": (1, 64),
}


def looks_own(data: memoryview) -> bool:
    """Whether a file begins like safetensors: the length of a JSON object, and the object."""
    return bytes(data[8:9]) == b"{" and len(data) > 16 and int.from_bytes(data[:8], "little") <= len(data) - 8


def read_own(data: memoryview, budget: Budget) -> Found:
    """A generator that PixelLift wrote."""
    (length,) = struct.unpack("<Q", data[:8])
    if length > MAX_HEADER_BYTES:
        raise Refused("its header is too long")
    budget.spend(JSON_EXPANSION * length)
    start = bytes(data[: 8 + length])
    if b'"ganworks"' not in start:
        raise Refused("it is a safetensors file that PixelLift did not write", UNKNOWN)
    try:
        header = checkpoint.parse_header(io.BytesIO(start), len(data), "it")
        sizes = {key: header.integer(key, low, high) for key, (low, high) in NUMBERS.items()}
        sizes["c_dim"] = header.integer("c_dim", 0, MAX_DIM, 0)
        texts = {key: header.text(key) for key in TEXTS}
    except CheckpointError as error:
        raise refused(error) from error
    check_graph(header.meta, budget)
    if not _plain(header.meta):
        raise Refused("its header has malformed classes, a malformed crop or a malformed text")
    if header.kind != "generator":
        raise Refused(f"it holds {checkpoint.KINDS[header.kind]} and no generator", UNKNOWN)
    entries = {key: entry for key, entry in json.loads(start[8:]).items() if key != "__metadata__"}
    tensors = {}
    for key, entry in entries.items():
        first, last = (8 + length + place for place in entry["data_offsets"])
        shape = tuple(entry["shape"])
        storage = Storage(CODES[entry["dtype"]], math.prod(shape), data[first:last])
        tensors[key] = weights(tensor(storage, 0, shape, steps(shape)), budget)
    meta = {key: header.meta[key] for key in KEPT if key in header.meta}
    return Found("PixelLift", {**meta, **sizes, **texts}, tensors)


def _plain(meta: dict[str, object]) -> bool:
    """Whether classes and crop are lists of texts, and of four whole numbers, and the rest can be written again."""
    classes, crop = meta.get("classes") or [], meta.get("crop") or [0, 0, 0, 0]
    try:
        json.dumps([meta.get(key) for key in KEPT if key != "classes"], ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return (
        isinstance(classes, list)
        and all(isinstance(name, str) for name in classes)
        and isinstance(crop, list)
        and len(crop) == 4
        and all(type(side) is int for side in crop)
    )


def steps(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides of a tensor whose numbers lie in order."""
    return tuple(math.prod(shape[index + 1 :]) for index in range(len(shape)))
