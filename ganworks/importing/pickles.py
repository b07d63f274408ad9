"""A pickle machine that runs nothing: it turns the instructions of a pickle into plain data.

Python's own unpickler imports what a file names and calls it, which is how a checkpoint runs code. Here a name
stays a name, and only the `Vocabulary` that the caller gives knows what a name with arguments stands for. Python's
unpickler with an overridden `find_class` would not do: it takes memory as the file says before anything can be
checked, copies every byte string, and knows no limits.

Byte strings are slices of the file. Meaning of the instructions: the `pickletools` module of Python, protocols 2 to 5.
"""

import struct
from collections.abc import Callable
from typing import Protocol

from ganworks.importing.graph import check_graph
from ganworks.importing.records import Text, kind_of
from ganworks.importing.refusal import (
    MAX_INTEGER_BYTES,
    MAX_MARKS,
    MAX_TEXT_BYTES,
    Budget,
    Refused,
)

MAX_NAME_BYTES = 256
MAX_KEY = 2**60  # Python files larger whole numbers in dictionaries under hashes that can be made to collide
PROTOCOLS = range(2, 6)


class Vocabulary(Protocol):
    """What the names in a pickle stand for. Each method raises Refused for what it does not know."""

    def named(self, module: str, name: str) -> object:
        """The object that a name stands for."""

    def called(self, what: object, arguments: tuple[object, ...]) -> object:
        """What comes of a name that is called, or of a class that is made."""

    def restored(self, target: object, state: object) -> None:
        """Give an object its state."""

    def persistent(self, key: object) -> object:
        """An object that lies outside of the pickle."""


class Machine:
    """Reads one pickle from `data`, from `position` on; afterwards `position` is behind it."""

    def __init__(self, data: memoryview, vocabulary: Vocabulary, budget: Budget, position: int = 0) -> None:
        self.data, self.vocabulary, self.budget, self.position = data, vocabulary, budget, position
        self.stack: list[object] = []
        self.marks: list[int] = []  # heights of the stack
        self.memo: dict[int, object] = {}

    def run(self) -> object:
        """The object that the pickle describes."""
        if bytes(self.data[self.position : self.position + 1]) != b"\x80":
            raise Refused("it is not a pickle of protocol 2 or newer")
        instructions = INSTRUCTIONS
        while True:
            opcode = self.byte()
            if opcode == STOP:
                break
            self.budget.step()
            instruction = instructions.get(opcode)
            if instruction is None:
                raise Refused(FORBIDDEN.get(opcode, f"it has the unknown instruction {opcode}"))
            instruction(self)
        result = self.pop()
        if self.stack or self.marks:
            raise Refused("it ends in the middle of an object")
        check_graph(result, self.budget)
        return result

    # --- The file

    def take(self, count: int) -> memoryview:
        """The next bytes."""
        end = self.position + count
        if end > len(self.data):
            raise Refused("it is cut short, or lies about a length")
        piece = self.data[self.position : end]
        self.position = end
        return piece

    def byte(self) -> int:
        if self.position >= len(self.data):
            raise Refused("it is cut short")
        value = self.data[self.position]
        self.position += 1
        return value

    def number(self, form: struct.Struct) -> int:
        value: int = form.unpack(self.take(form.size))[0]
        return value

    def line(self) -> str:
        piece = bytes(self.data[self.position : self.position + MAX_NAME_BYTES + 1])
        end = piece.find(b"\n")
        if end < 0:
            raise Refused("a name in it is too long")
        self.position += end + 1
        return decoded(piece[:end])

    # --- The stack

    def push(self, value: object) -> None:
        self.stack.append(value)

    def pop(self) -> object:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Refused("it takes an object that is not there")
        return self.stack.pop()

    def pop_to_mark(self) -> list[object]:
        if not self.marks:
            raise Refused("it takes objects that are not there")
        height = self.marks.pop()
        values = self.stack[height:]
        del self.stack[height:]
        return values

    def top(self) -> object:
        value = self.pop()
        self.stack.append(value)
        return value

    # --- Instructions

    def protocol(self) -> None:
        if self.byte() not in PROTOCOLS:
            raise Refused("its pickle protocol is not one of 2 to 5")

    def frame(self) -> None:
        if self.number(U64) > len(self.data) - self.position:
            raise Refused("it is cut short, or lies about the length of a frame")

    def mark(self) -> None:
        if len(self.marks) >= MAX_MARKS:
            raise Refused(f"its objects are nested more than {MAX_MARKS} deep")
        self.marks.append(len(self.stack))

    def long(self) -> None:
        self.integer(self.byte())

    def long_4(self) -> None:
        self.integer(self.number(I32))

    def integer(self, length: int) -> None:
        if not 0 <= length <= MAX_INTEGER_BYTES:
            raise Refused("it has a whole number of absurd length")
        self.push(int.from_bytes(self.take(length), "little", signed=True))

    def text(self, length: int) -> None:
        piece = self.take(length)
        if length > MAX_TEXT_BYTES:
            self.push(Text(piece))
            return
        raw = bytes(piece)
        widest = 1 if raw.isascii() else 4  # one wide character makes all of them wide
        self.budget.spend(widest * length)
        self.push(decoded(raw))

    def tuple_of(self, count: int) -> None:
        items = [self.pop() for _ in range(count)]
        self.push(tuple(reversed(items)))

    def append(self) -> None:
        value = self.pop()
        self.add_items([value])

    def add_items(self, values: list[object]) -> None:
        target = self.top()
        if type(target) is not list:
            raise Refused(f"it adds items to {kind_of(target)}")
        target.extend(values)

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def set_items(self, values: list[object]) -> None:
        target = self.top()
        if type(target) is not dict or len(values) % 2:
            raise Refused(f"it sets items of {kind_of(target)}")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if type(key) is not str and not (type(key) is int and 0 <= key < MAX_KEY):
                raise Refused(f"{kind_of(key)} is a key in it, where texts and numbers are known")
            if key in target:
                raise Refused(f"the key {str(key)[:80]!r} comes twice in it")
            target[key] = value

    def frozen_set(self) -> None:
        self.push(self.pop_to_mark())

    def global_name(self) -> None:
        module = self.line()
        self.push(self.vocabulary.named(module, self.line()))

    def stack_global(self) -> None:
        name, module = self.pop(), self.pop()
        if (
            not isinstance(module, str)
            or not isinstance(name, str)
            or len(module) + len(name) > MAX_NAME_BYTES
        ):
            raise Refused("a name in it is malformed")
        self.push(self.vocabulary.named(module, name))

    def reduce(self) -> None:
        arguments, what = self.pop(), self.pop()
        if type(arguments) is not tuple:
            raise Refused(f"it calls something with {kind_of(arguments)}")
        self.push(self.vocabulary.called(what, arguments))

    def build(self) -> None:
        state = self.pop()
        self.vocabulary.restored(self.top(), state)

    def persistent(self) -> None:
        self.push(self.vocabulary.persistent(self.pop()))

    # --- The memo

    def memoize(self) -> None:
        self.remember(len(self.memo))

    def remember(self, key: int) -> None:
        self.memo[key] = self.top()

    def recall(self, key: int) -> None:
        if key not in self.memo:
            raise Refused("it refers to an object that is not there")
        self.push(self.memo[key])


def decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("a text in it is malformed") from error


U16, I32, U32, U64, F64 = (struct.Struct(form) for form in ("<H", "<i", "<I", "<Q", ">d"))
STOP = ord(".")

INSTRUCTIONS: dict[int, Callable[[Machine], None]] = {
    0x80: Machine.protocol,
    0x95: Machine.frame,
    ord("("): Machine.mark,
    # Numbers
    ord("N"): lambda m: m.push(None),
    0x88: lambda m: m.push(True),
    0x89: lambda m: m.push(False),
    ord("K"): lambda m: m.push(m.byte()),
    ord("M"): lambda m: m.push(m.number(U16)),
    ord("J"): lambda m: m.push(m.number(I32)),
    0x8A: Machine.long,
    0x8B: Machine.long_4,
    ord("G"): lambda m: m.push(F64.unpack(m.take(8))[0]),
    # Texts and bytes
    0x8C: lambda m: m.text(m.byte()),
    ord("X"): lambda m: m.text(m.number(U32)),
    0x8D: lambda m: m.text(m.number(U64)),
    ord("C"): lambda m: m.push(m.take(m.byte())),
    ord("B"): lambda m: m.push(m.take(m.number(U32))),
    0x8E: lambda m: m.push(m.take(m.number(U64))),
    0x96: lambda m: m.push(m.take(m.number(U64))),
    # Containers; a set becomes a list
    ord("]"): lambda m: m.push([]),
    0x8F: lambda m: m.push([]),
    ord("}"): lambda m: m.push({}),
    ord(")"): lambda m: m.push(()),
    0x85: lambda m: m.tuple_of(1),
    0x86: lambda m: m.tuple_of(2),
    0x87: lambda m: m.tuple_of(3),
    ord("t"): lambda m: m.push(tuple(m.pop_to_mark())),
    ord("a"): Machine.append,
    ord("e"): lambda m: m.add_items(m.pop_to_mark()),
    0x90: lambda m: m.add_items(m.pop_to_mark()),
    0x91: Machine.frozen_set,
    ord("s"): Machine.set_item,
    ord("u"): lambda m: m.set_items(m.pop_to_mark()),
    # Names and what is made of them
    ord("c"): Machine.global_name,
    0x93: Machine.stack_global,
    ord("R"): Machine.reduce,
    0x81: Machine.reduce,
    ord("b"): Machine.build,
    ord("Q"): Machine.persistent,
    # The memo
    0x94: Machine.memoize,
    ord("q"): lambda m: m.remember(m.byte()),
    ord("r"): lambda m: m.remember(m.number(U32)),
    ord("h"): lambda m: m.recall(m.byte()),
    ord("j"): lambda m: m.recall(m.number(U32)),
}

_OLD = "it has instructions of the pickle protocols 0 and 1, which no checkpoint needs"
FORBIDDEN = {
    0x82: "it uses the extension registry, which no checkpoint needs",
    0x83: "it uses the extension registry, which no checkpoint needs",
    0x84: "it uses the extension registry, which no checkpoint needs",
    0x92: "it makes an object with named arguments, which no checkpoint needs",
    0x97: "it needs buffers that lie outside of the file",
    0x98: "it needs buffers that lie outside of the file",
    ord("T"): "it was written by Python 2",
    ord("U"): "it was written by Python 2",
    ord("P"): "it refers to objects outside of the file by a text",
    **dict.fromkeys(b"FILSVgiop012dl", _OLD),
}
