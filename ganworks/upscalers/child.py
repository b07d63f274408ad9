"""The child process that looks at a foreign upscaler: limits first, then the work, with one answer in JSON.

It is started by `sandbox`, with open files and an order on its standard input. torch and spandrel are loaded before the
limits are set and before a byte of the file is read; while it is read nothing can be imported, opened or started.
"""

import io
import json
import mmap
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ganworks import checkpoint
from ganworks.importing.child import limit, locked
from ganworks.importing.refusal import MAX_EXPANSION, MAX_TENSORS, MIB, Refused
from ganworks.importing.zips import Archive
from ganworks.upscalers.network import findings_about, recognise, stored
from ganworks.upscalers.vision import spandrel

WORK_BYTES = 2048 * MIB  # of addresses: for the network and for trying it out
MAX_UNPACKED_LEVELS = 3
COMPILED = "it is a compiled program (TorchScript) and not a state dict"
ONLY_TENSORS = "Save its state dict alone, with torch.save(network.state_dict(), ...) or as safetensors."


def main(source: int, draft: int) -> None:
    """Do what the order says with the two open files. `draft` is -1 if nothing shall be written."""
    order = json.load(sys.stdin)
    _warm_up()
    limit({**order["limits"], "AS": _address_bytes() + WORK_BYTES + MAX_EXPANSION * os.fstat(source).st_size})
    try:
        data = memoryview(mmap.mmap(source, 0, access=mmap.ACCESS_READ))
        with locked():
            state = read(data)
        tensors = stored(state)
        findings = findings_about(recognise(tensors))
        if draft >= 0:
            _write(draft, order["meta"], findings.as_data(), tensors)
        _answer(findings=findings.as_data())
    except Refused as refusal:
        _answer(refused=[refusal.reason, refusal.advice])
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "memory" not in str(error):
            raise
        _answer(refused=["it needs more memory than an upscaler may", "It is too large, or made to do harm."])


def read(data: memoryview) -> dict[str, Tensor]:
    """The state dict in a file of safetensors, or one that torch.save wrote. Refused if it is anything else."""
    start = bytes(data[:9])
    if start[:2] == b"PK":
        Archive(data)  # no member is compressed or overlaps another, and none is a program
        found = _load(data)
    elif start[:1] == b"\x80":
        found = _load(data)
    elif start[8:9] == b"{":
        found = _safetensors(data)
    else:
        raise Refused("it is neither safetensors nor a file that torch.save wrote")
    return _tensors(found, len(data))


def _load(data: memoryview) -> Any:
    """What torch.save wrote: `weights_only` knows tensors and plain data, and calls nothing else."""
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (Refused, MemoryError):
        raise
    except Exception as error:  # damage shows itself in many ways
        if "memory" in str(error):
            raise MemoryError from error
        if "TorchScript" in str(error):
            raise Refused(COMPILED, ONLY_TENSORS) from error
        if "nsupported" in str(error):
            raise Refused("it holds more than tensors and plain data", ONLY_TENSORS) from error
        raise Refused("it is damaged") from error


def _safetensors(data: memoryview) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(bytes(data))
    except (SafetensorError, ValueError, KeyError) as error:
        raise Refused("it is not a whole safetensors file") from error


def _tensors(found: Any, file_bytes: int) -> dict[str, Tensor]:
    """The tensors by name, out of the dictionaries that trainers wrap around them."""
    canonical: Callable[[Any], Any] = spandrel().canonicalize_state_dict
    for _ in range(MAX_UNPACKED_LEVELS):
        if isinstance(found, dict) and all(isinstance(key, str) for key in found):
            found = canonical(found)
    if not isinstance(found, dict) or not found:
        raise Refused("it holds no state dict", ONLY_TENSORS)
    if len(found) > MAX_TENSORS:
        raise Refused(f"it has more than {MAX_TENSORS:,} tensors")
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.layout != torch.strided:
            raise Refused(f"the entry {str(name)[:80]!r} in it is no tensor", ONLY_TENSORS)
    if sum(value.numel() * value.element_size() for value in found.values()) > MAX_EXPANSION * file_bytes:
        raise Refused(f"it would grow to more than {MAX_EXPANSION} times its size in memory")
    return found


def _write(draft: int, meta: dict[str, Any], findings: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    about = {
        **meta,
        "architecture": "spandrel",
        "spandrel_architecture": findings["architecture"],
        "purpose": findings["purpose"],
        "scale": findings["scale"],
    }
    with os.fdopen(draft, "wb") as target:
        checkpoint.write(target, "upscaler", about, tensors)


def _warm_up() -> None:
    """Load whatever reading a file needs, so that nothing is imported once one is being read."""
    import safetensors.torch

    torch.set_num_threads(1)
    spandrel()
    sample = {"a": torch.zeros(1), "b": torch.zeros(1, dtype=torch.float16)}
    safetensors.torch.load(safetensors.torch.save(sample))
    for zipped in (True, False):
        file = io.BytesIO()
        torch.save(sample, file, _use_new_zipfile_serialization=zipped)
        file.seek(0)
        torch.load(file, map_location="cpu", weights_only=True)


def _address_bytes() -> int:
    """How much this process has mapped by now: with a CUDA build of torch far more than with another."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not Linux
        return 1 << 40


def _answer(**content: Any) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()
