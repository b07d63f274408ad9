"""Weights and results on disk: safetensors files whose metadata says what they are.

A file is safetensors with one metadata entry, `ganworks`, which holds a JSON object (`Header.meta`): schema,
kind, label, sizes, licence. The header of a file is checked against the file's real size, and against the
shapes that the caller expects, before a byte of weights is read. Nothing in these files can run code.

Format of the container: https://github.com/huggingface/safetensors (8 bytes of length, JSON, then raw
tensors).
"""

import hashlib
import io
import json
import math
import os
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ganworks.errors import CheckpointError, HeaderMissing

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1
METADATA_KEY = "ganworks"
KINDS = {
    "generator": "a generator",
    "critic": "a critic",
    "encoder": "an encoder",
    "components": "principal components",
    "upscaler": "an upscaler",
    "projection": "a projection",
    "tuning": "a tuning",
}
FLOAT_BYTES = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8}
MAX_HEADER_BYTES = 16 * 1024 * 1024
MAX_IN_MEMORY_BYTES = 1024 * 1024 * 1024
MAX_DIMENSIONS = 8

Source = str | Path | BinaryIO


@dataclass(frozen=True)
class Header:
    """What a file says of itself: `meta` is our JSON object, `shapes` every tensor's shape by name."""

    meta: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    name: str
    data_bytes: int = field(default=0)

    @property
    def kind(self) -> str:
        return str(self.meta["kind"])

    def text(self, key: str, default: str = "") -> str:
        """A text from `meta`; CheckpointError if it is of another type."""
        value = self.meta.get(key)
        if value is None:
            return default
        if not isinstance(value, str):
            raise damaged(self.name, f"its header gives no text for {key!r}")
        return value

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """An integer from `meta` within [low, high]; CheckpointError otherwise."""
        value = self.meta.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise damaged(self.name, f"its header must give {key!r} as a whole number from {low} to {high}")
        return value

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """A finite number from `meta` within [low, high]; CheckpointError otherwise."""
        value = self.meta.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise damaged(self.name, f"its header must give {key!r} as a number from {low:g} to {high:g}")
        return float(value)


def damaged(name: str, reason: str) -> CheckpointError:
    return CheckpointError(f"The file {name} cannot be used: {reason}. Replace it with a good copy.")


def read_header(source: Source, kind: str | None = None) -> Header:
    """Read and check a file's header, and nothing else. `kind`, if given, is what the file must be."""
    if isinstance(source, str | Path):
        path = Path(source)
        name = f"{path.parent.name}/{path.name}" if path.parent.name else path.name
        try:
            with path.open("rb") as file:
                header = parse_header(file, os.fstat(file.fileno()).st_size, name)
        except OSError as error:
            raise CheckpointError(
                f"The file {name} cannot be opened: {error.strerror or error}. Check that it is there."
            ) from error
    else:
        size = source.seek(0, io.SEEK_END)
        source.seek(0)
        header = parse_header(source, size, "that was given")
    if kind is not None and header.kind != kind:
        raise CheckpointError(
            f"The file {header.name} holds {KINDS[header.kind]}, and {KINDS[kind]} is needed here. "
            "Choose another file."
        )
    return header


def parse_header(file: BinaryIO, size: int, name: str) -> Header:
    """The header at the start of a file of `size` bytes, checked. `name` is what to call the file in sentences."""
    if size < 8:
        raise damaged(name, "it is too short to hold anything")
    (length,) = struct.unpack("<Q", file.read(8))
    if length > min(size - 8, MAX_HEADER_BYTES):
        raise damaged(name, "it is not a safetensors file, or it is cut short")
    try:
        content = json.loads(file.read(length).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise damaged(name, "its header is not valid JSON") from error
    if not isinstance(content, dict):
        raise damaged(name, "its header is not a JSON object")
    meta = _parse_meta(content.pop("__metadata__", None), name)
    data_bytes = size - 8 - length
    shapes = {str(key): _parse_shape(entry, data_bytes, name, key) for key, entry in content.items()}
    if sum(entry["data_offsets"][1] - entry["data_offsets"][0] for entry in content.values()) != data_bytes:
        raise damaged(name, "its size is not what its header says, so it may be cut short")
    return Header(meta, shapes, name, data_bytes)


def _parse_meta(metadata: Any, name: str) -> dict[str, Any]:
    text = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise HeaderMissing(
            f"The file {name} has no ganworks header, so it is not known what it holds. Import it first."
        )
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise damaged(name, "its ganworks header is not valid JSON") from error
    if not isinstance(meta, dict) or not isinstance(meta.get("kind"), str) or meta["kind"] not in KINDS:
        raise damaged(name, "its header does not say what it holds")
    if meta.get("schema") != SCHEMA:
        raise CheckpointError(
            f"The file {name} was written in another version of the format ({meta.get('schema')!r}, where "
            f"{SCHEMA} is understood). Use the program's version that wrote it, or import the original again."
        )
    return meta


def _parse_shape(entry: Any, data_bytes: int, name: str, key: str) -> tuple[int, ...]:
    try:
        shape, (start, end) = entry["shape"], entry["data_offsets"]
        width = FLOAT_BYTES[entry["dtype"]]
    except (TypeError, KeyError, ValueError) as error:
        raise damaged(
            name, f"the entry {key[:80]!r} in its header is malformed or not of floating point"
        ) from error
    numbers = [*shape, start, end] if isinstance(shape, list) else [None]
    if (
        any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in numbers)
        or len(shape) > MAX_DIMENSIONS
    ):
        raise damaged(name, f"the shape of {key[:80]!r} in its header is malformed")
    if not start <= end <= data_bytes or end - start != math.prod(shape) * width:
        raise damaged(name, f"the place or the size of {key[:80]!r} is not what its header says")
    return tuple(shape)


def check_shapes(header: Header, expected: Mapping[str, tuple[int, ...]]) -> None:
    """
    Compare a header with the tensors that a network of its description needs; CheckpointError if they differ.
    """
    missing = sorted(expected.keys() - header.shapes.keys())
    if missing:
        raise damaged(header.name, f"it lacks {len(missing)} tensors, the first being {missing[0]!r}")
    unknown = sorted(header.shapes.keys() - expected.keys())
    if unknown:
        raise damaged(
            header.name, f"it has {len(unknown)} unknown tensors, the first being {unknown[0][:80]!r}"
        )
    for key, shape in expected.items():
        if header.shapes[key] != tuple(shape):
            raise damaged(
                header.name,
                f"the tensor {key!r} has the shape {list(header.shapes[key])}, where {list(shape)} is needed",
            )


def read_tensors(source: Source, header: Header) -> "dict[str, Tensor]":
    """All tensors as float32 on the CPU, which own their memory. Call `check_shapes` first."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load, load_file

    try:
        if isinstance(source, str | Path):
            tensors = load_file(source)
        else:
            source.seek(0)
            tensors = load(source.read(MAX_IN_MEMORY_BYTES))
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged(header.name, "its tensors cannot be read") from error
    found = {key: tensor.to(torch.float32, copy=True) for key, tensor in tensors.items()}
    for key, tensor in found.items():
        if not bool(torch.isfinite(tensor).all()):
            raise damaged(header.name, f"the tensor {key!r} holds numbers that are not finite")
    return found


def write(target: Source, kind: str, meta: Mapping[str, Any], tensors: "Mapping[str, Tensor]") -> None:
    """
    Write a file, whole or not at all: a path is replaced at once when all bytes are on disk.
    The same tensors and the same meta give the same bytes.
    """
    import torch

    codes = {torch.float16: "F16", torch.bfloat16: "BF16", torch.float32: "F32", torch.float64: "F64"}
    entries = {key: (codes[tensor.dtype], tuple(tensor.shape)) for key, tensor in tensors.items()}

    def read(key: str) -> memoryview:
        plain = tensors[key].detach().cpu().contiguous().view(-1)
        return plain.view(torch.uint8).numpy().data if plain.numel() else memoryview(b"")

    if isinstance(target, str | Path):
        with draft_of(Path(target)) as file:
            write_stream(file, kind, meta, entries, read)
    else:
        write_stream(target, kind, meta, entries, read)


def write_stream(
    file: BinaryIO,
    kind: str,
    meta: Mapping[str, Any],
    entries: Mapping[str, tuple[str, tuple[int, ...]]],
    read: Callable[[str], bytes | memoryview],
) -> None:
    """
    Write a file tensor by tensor, so that no more than one is in memory. `entries` gives the format ("F32") and the
    shape of each tensor, `read` its bytes in little-endian order.
    """
    if kind not in KINDS:
        raise ValueError(f"Unknown kind {kind!r}.")
    document = json.dumps({"schema": SCHEMA, "kind": kind, **meta}, sort_keys=True, ensure_ascii=False)
    header: dict[str, Any] = {"__metadata__": {METADATA_KEY: document}}
    end = 0
    order = sorted(entries, key=lambda key: (-FLOAT_BYTES[entries[key][0]], entries[key][0] == "F16", key))
    for key in order:
        code, shape = entries[key]
        start, end = end, end + math.prod(shape) * FLOAT_BYTES[code]
        header[key] = {"dtype": code, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    for key in order:
        data = read(key)
        start, end = header[key]["data_offsets"]
        if len(data) != end - start:
            raise ValueError(f"The tensor {key!r} has {len(data)} bytes, and should have {end - start}.")
        file.write(data)


@contextmanager
def draft_of(path: Path) -> Iterator[BinaryIO]:
    """
    A file that takes the place of `path` once the block is left without an error, and else disappears, with the
    folder if that was made for it.
    """
    new_folder = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(descriptor)
    try:
        with open(draft, "w+b") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        if new_folder:
            with suppress(OSError):
                path.parent.rmdir()
        raise


_hashes: dict[tuple[str, int, int], str] = {}
_hashes_lock = threading.Lock()


def sha256_of(path: str | Path) -> str:
    """The SHA-256 of a file's bytes in hex, computed once for each (path, size, time of change)."""
    path = Path(path).resolve()
    status = path.stat()
    key = (str(path), status.st_size, status.st_mtime_ns)
    with _hashes_lock:
        if key in _hashes:
            return _hashes[key]
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with _hashes_lock:
        _hashes[key] = digest
    return digest
