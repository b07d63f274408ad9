"""The zip archives that torch.save writes: uncompressed members, looked at where they lie.

Source: PKWARE's APPNOTE.TXT, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.14 to 4.3.16 (its end).
"""

import struct
from itertools import pairwise
from typing import NamedTuple

from ganworks.importing.refusal import Refused

MAX_MEMBERS = 25_000
MAX_COMMENT_BYTES = 65_535
END = struct.Struct("<4s4H2LH")
END_64_PLACE = struct.Struct("<4sLQL")
END_64 = struct.Struct("<4sQ2H2L4Q")
ENTRY = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
FULL_16, FULL_32 = 0xFFFF, 0xFFFFFFFF
ENCRYPTED = 1


class Member(NamedTuple):
    start: int  # of its local header
    size: int
    end: int  # of its data
    data: memoryview


class Archive:
    """The members of an archive by name, without the folder that they all lie in."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        count, start, size = self._directory()
        members = self._members(count, start, size)
        folders = {name.partition("/")[0] for name in members}
        if len(folders) != 1:
            raise Refused("it is a zip archive, and not one that torch.save wrote")
        self.names = {name.partition("/")[2]: member for name, member in members.items()}
        if any(name.startswith("code/") or name == "constants.pkl" for name in self.names):
            raise Refused("it is a compiled program (TorchScript) and not a checkpoint")
        if "data.pkl" not in self.names:
            raise Refused("it is a zip archive, and not one that torch.save wrote")

    def member(self, name: str) -> memoryview:
        if name not in self.names:
            raise Refused(f"the part {name[:80]!r} of it is missing")
        return self.names[name].data

    def _unpack(self, form: struct.Struct, position: int, signature: bytes) -> tuple[int, ...]:
        """The fields of a structure behind its signature."""
        if not 0 <= position <= len(self.data) - form.size:
            raise Refused("it is a zip archive that is cut short")
        found = form.unpack(self.data[position : position + form.size])
        if found[0] != signature:
            raise Refused("it is a zip archive that is damaged")
        return found[1:]

    def _directory(self) -> tuple[int, int, int]:
        """How many members the central directory lists, where it starts, and its size."""
        first = max(0, len(self.data) - END.size - MAX_COMMENT_BYTES)
        tail = bytes(self.data[first:])
        place = tail.rfind(b"PK\x05\x06")
        if place < 0:
            raise Refused("it is a zip archive that is cut short")
        end = first + place
        fields = self._unpack(END, end, b"PK\x05\x06")
        count, size, start, comment = fields[3:7]
        if end + END.size + comment != len(self.data):
            raise Refused("there is something behind the zip archive in it")
        if FULL_16 in fields[:4] or FULL_32 in (size, start):
            (_, end, _) = self._unpack(END_64_PLACE, end - END_64_PLACE.size, b"PK\x06\x07")
            count, size, start = self._unpack(END_64, end, b"PK\x06\x06")[6:9]
        if count > MAX_MEMBERS or start + size > end:
            raise Refused("it is a zip archive whose table of contents lies about its size")
        return count, start, size

    def _members(self, count: int, start: int, size: int) -> dict[str, Member]:
        found: dict[str, Member] = {}
        position = start
        for _ in range(count):
            fields = self._unpack(ENTRY, position, b"PK\x01\x02")
            flags, method = fields[2:4]
            packed, plain, name_length, extra_length, comment_length = fields[7:12]
            local = fields[15]
            position += ENTRY.size
            name = self._name(position, name_length)
            extra = self.data[position + name_length : position + name_length + extra_length]
            plain, packed, local = _wide(extra, plain, packed, local)
            position += name_length + extra_length + comment_length
            if method or flags & ENCRYPTED or packed != plain:
                raise Refused(
                    "it is a zip archive with compressed or encrypted parts, which torch.save does not write"
                )
            if name in found:
                raise Refused("it is a zip archive with two parts of the same name")
            found[name] = self._member(name, local, plain, start)
        if position != start + size:
            raise Refused("it is a zip archive whose table of contents lies about its size")
        ordered = sorted(found.values(), key=lambda member: member.start)
        if any(after.start < before.end for before, after in pairwise(ordered)):
            raise Refused("it is a zip archive whose parts overlap")
        return found

    def _name(self, position: int, length: int) -> str:
        try:
            name = bytes(self.data[position : position + length]).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Refused("it is a zip archive with a malformed name") from error
        if len(name) > 512 or "\\" in name or ".." in name.split("/") or name.startswith("/") or "\0" in name:
            raise Refused("it is a zip archive with a malformed name")
        return name

    def _member(self, name: str, local: int, size: int, limit: int) -> Member:
        """The data of a member, which lie behind its local header and before the central directory."""
        fields = self._unpack(LOCAL, local, b"PK\x03\x04")
        name_length, extra_length = fields[8:10]
        first = local + LOCAL.size
        if bytes(self.data[first : first + name_length]) != name.encode():
            raise Refused("it is a zip archive whose table of contents names other parts than it has")
        first += name_length + extra_length
        if first + size > limit:
            raise Refused("it is a zip archive whose parts lie about their size")
        return Member(local, size, first + size, self.data[first : first + size])


def _wide(extra: memoryview, plain: int, packed: int, local: int) -> tuple[int, int, int]:
    """Sizes that need 64 bits are in an extra field, in this order, where the others are full."""
    values = [plain, packed, local]
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack("<HH", extra[position : position + 4])
        body = extra[position + 4 : position + 4 + length]
        if kind == 1:
            full = [index for index, value in enumerate(values) if value == FULL_32]
            for place, index in enumerate(full):
                if len(body) >= 8 * (place + 1):
                    values[index] = int.from_bytes(body[8 * place : 8 * place + 8], "little")
        position += 4 + length
    return values[0], values[1], values[2]
