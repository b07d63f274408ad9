"""Which device to compute on, with how many threads, and plain words when memory runs out."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from ganworks.errors import DeviceNotFound, OutOfMemory

_CPU_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory")


def choose_device(name: str = "auto") -> torch.device:
    """
    "auto" is the first GPU if torch sees one, else the CPU; otherwise any name of a torch device ("cpu",
    "cuda:1"). DeviceNotFound if this machine does not have it.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceNotFound(
            f"{name!r} is not the name of a device. Use auto, cpu, cuda or cuda:0."
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceNotFound(f"The device {name} is not in this machine. Use auto, or cpu.")
    if device.type not in ("cpu", "cuda"):
        raise DeviceNotFound(f"The device {name} is not supported. Use auto, cpu, cuda or cuda:0.")
    return device


def choose_precision(device: torch.device) -> torch.dtype:
    """
    The number format for work that forgives rounding, such as superresolution: half precision on a GPU,
    float32 on the CPU. Generators always run in float32, so that a recipe gives the same picture everywhere.
    """
    return torch.float16 if device.type == "cuda" else torch.float32


def has_quick_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is quicker than float32 on this device: a CPU with instructions for it (Linux tells)."""
    return device.type == "cpu" and not {"avx512_bf16", "amx_bf16"}.isdisjoint(_cpu_flags())


@cache
def _cpu_flags() -> frozenset[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())


@contextmanager
def inference_threads(count: int) -> Iterator[None]:
    """
    Let the calling thread use `count` CPU threads inside the block, so that a long job leaves cores for
    previews. torch keeps the number for each thread that computes, so other threads are not slowed.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, count))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def free_memory() -> None:
    """Give memory that nothing uses any more back, to the machine and to its GPU."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def plain_memory_errors() -> Iterator[None]:
    """Turn torch's ways of saying that memory ran out into OutOfMemory."""
    advice = (
        "There is not enough memory for this. Close other work, or try a smaller picture or fewer at once."
    )
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(advice) from error
    except RuntimeError as error:
        if any(phrase in str(error) for phrase in _CPU_OUT_OF_MEMORY):
            raise OutOfMemory(advice) from error
        raise
