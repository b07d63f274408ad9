"""Loads spandrel, the library that knows the networks of other people, when the first such file is opened.

spandrel needs torchvision, whose compiled half fits a CUDA build of torch only. Beside a CPU build its import ends in
"operator torchvision::nms does not exist" (pytorch/vision issues 9077 and 9085), although nothing that is needed here
is compiled. Declaring the two operators lets the rest load. Declared first, they would clash with the compiled ones.
"""

import sys
import threading
from functools import cache
from importlib import import_module
from types import ModuleType

_lock = threading.Lock()
MISSING = "torchvision::"
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def spandrel() -> ModuleType:
    """The library, loaded once. It takes a few seconds the first time."""
    with _lock:
        return _loaded()


@cache
def _loaded() -> ModuleType:
    _load_torchvision()
    return import_module("spandrel")


def _load_torchvision() -> None:
    import torch

    try:
        import_module("torchvision")
    except RuntimeError as error:
        if MISSING not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            torch.library.define(MISSING + operator, SCHEMA)
        import_module("torchvision")
