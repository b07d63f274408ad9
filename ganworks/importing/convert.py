"""From a file's bytes to a generator's file and what is to be told about it. This is what runs in the child process."""

import hashlib
import math
from collections.abc import Callable
from typing import Any, BinaryIO

from ganworks import checkpoint
from ganworks.importing.found import IMG_CHANNELS, Found
from ganworks.importing.reader import read
from ganworks.importing.refusal import Refused, readable

BUFFERS = {
    "w_avg",
    "noise_const",
    "resample_filter",
    "up_filter",
    "down_filter",
    "magnitude_ema",
    "transform",
    "freqs",
    "phases",
    "basis",
}
CHUNK_BYTES = 4 * 1024 * 1024
RESERVED = "__metadata__"  # where safetensors keep what is no tensor
TEXTS = {"label": 80, "license": 300, "description": 2000}  # and how long they may be
MAX_CLASS_NAME, MAX_SOURCE_NAME = 100, 255
Progress = Callable[[float, str], None]


def convert(data: memoryview, target: BinaryIO, words: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """
    Read a checkpoint and write its generator to `target`. `words` has the file's `name`, the texts that were `given`
    for the header (label, license, description, classes), and the entry of the catalogue that is `known` by the
    name. Returns what `report.ImportReport` needs, but for times and hashes of the result. Raises Refused.
    """
    progress(0.0, "Reading the file")
    found = read(data)
    progress(0.05, "Computing its checksum")
    sha256 = _sha256(data)
    meta = {"img_channels": IMG_CHANNELS, **found.meta, **_texts(words, found.meta)}
    meta |= {"source_format": found.format, "source_sha256": sha256}
    total, done = max(1, sum(math.prod(weights.shape) for weights in found.tensors.values())), 0

    def numbers(key: str) -> memoryview:
        nonlocal done
        values = found.tensors[key].floats().astype("<f4", copy=False)
        done += values.size
        progress(0.2 + 0.8 * done / total, "Writing the weights")
        return values.reshape(-1).data.cast("B")

    if RESERVED in found.tensors:
        raise Refused(f"a tensor in it is named {RESERVED!r}")
    entries = {key: ("F32", weights.shape) for key, weights in found.tensors.items()}
    checkpoint.write_stream(target, "generator", meta, entries, numbers)
    return _summary(found, meta, len(data))


def _sha256(data: memoryview) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(data), CHUNK_BYTES):
        digest.update(data[start : start + CHUNK_BYTES])
    return digest.hexdigest()


def _texts(words: dict[str, Any], meta: dict[str, Any]) -> dict[str, Any]:
    """
    The texts for the header: those that were given, and for what was not given those that the catalogue has for
    the file's name, if what was found is as the catalogue says.
    """
    given, known = words["given"], words["known"]
    if known is None or any(known[key] != meta[key] for key in ("architecture", "resolution")):
        known = {}
    classes, c_dim = given["classes"] or meta.get("classes") or [], meta["c_dim"]
    if classes and len(classes) != c_dim:
        advice = f"Name {c_dim}, or none." if c_dim else "Name none."
        raise Refused(f"{len(classes)} classes were named, and its generator has {c_dim}", advice)
    texts = {key: known.get(key) or meta.get(key, "") if given[key] is None else given[key] for key in TEXTS}
    crop = known.get("crop") or meta.get("crop")
    return {
        **{key: readable(texts[key], longest) for key, longest in TEXTS.items()},
        "classes": [readable(name, MAX_CLASS_NAME) for name in classes],
        "crop": crop,
        "source_name": readable(words["name"], MAX_SOURCE_NAME),
    }


def _summary(found: Found, meta: dict[str, Any], source_bytes: int) -> dict[str, Any]:
    layers = [(key, list(weights.shape)) for key, weights in found.tensors.items()]
    learned = sum(math.prod(shape) for key, shape in layers if key.rpartition(".")[2] not in BUFFERS)
    same = (
        "architecture",
        "resolution",
        "z_dim",
        "w_dim",
        "c_dim",
        "num_ws",
        "label",
        "license",
        "classes",
        "crop",
    )
    return {
        **{key: meta.get(key) for key in same},
        "format": found.format,
        "mapping_layers": meta["num_layers"],
        "parameters": learned,
        "layers": layers,
        "ignored": found.ignored,
        "source_name": meta["source_name"],
        "source_bytes": source_bytes,
        "source_sha256": meta["source_sha256"],
    }
