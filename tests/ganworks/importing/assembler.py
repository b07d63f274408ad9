"""Pickles written instruction by instruction, for what no honest tool would write."""

import math
import struct


def pickle_of(*parts: bytes) -> bytes:
    """A whole pickle of protocol 4."""
    return b"\x80\x04" + b"".join(parts) + b"."


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def whole(value: int) -> bytes:
    raw = value.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def blob(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value


def name(module: str, leaf: str) -> bytes:
    return f"c{module}\n{leaf}\n".encode()


def put(index: int) -> bytes:
    """Remember the object on top of the stack."""
    return b"r" + struct.pack("<I", index)


def get(index: int) -> bytes:
    return b"j" + struct.pack("<I", index)


def dictionary(**entries: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in entries.items()) + b"u"


def module(state: bytes, class_name: str = "Layer") -> bytes:
    """A module of the public PyTorch code."""
    meta = {
        "type": text("class"),
        "version": b"K\x06",
        "module_src": text("pass"),
        "class_name": text(class_name),
        "state": state,
    }
    return name("torch_utils.persistence", "_reconstruct_persistent_obj") + dictionary(**meta) + b"\x85R"


def state(
    parameters: bytes = b"}", buffers: bytes = b"}", modules: bytes = b"}", **attributes: bytes
) -> bytes:
    return dictionary(_parameters=parameters, _buffers=buffers, _modules=modules, **attributes)


def array(*shape: int) -> bytes:
    """An array of zeros."""
    form = name("numpy", "dtype") + text("f4") + b"\x85R"
    sides = b"(" + b"".join(map(whole, shape)) + b"t"
    zeros = blob(bytes(4 * math.prod(shape)))
    return name("numpy._core.numeric", "_frombuffer") + b"(" + zeros + form + sides + text("C") + b"tR"
