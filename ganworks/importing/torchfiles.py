"""What torch.save writes: a zip archive today, and before torch 1.6 five small pickles with the numbers behind them.

The older form is also how a storage is kept inside of a pickle that torch did not write. Both are read here without
torch; numbers are left where they lie.
"""

import struct

from ganworks.importing.pickles import Machine
from ganworks.importing.records import Bytes, Storage, plain_bytes
from ganworks.importing.refusal import MAX_TENSORS, Budget, Refused
from ganworks.importing.tensors import STORAGES
from ganworks.importing.vocabulary import Vocabulary, storage_code
from ganworks.importing.zips import Archive

MAGIC = 0x1950A86A20F9469CFC6C
PROTOCOL = 1001
LEGACY_START = b"\x80\x02\x8a\x0a" + MAGIC.to_bytes(10, "little")


class DeclaredStorages:
    """The storages that a pickle names before it is known where they lie."""

    def __init__(self) -> None:
        self.found: dict[str, Storage] = {}

    def find(self, key: str, code: str, count: int) -> Storage:
        known = self.found.setdefault(key, Storage(code, count))
        if (known.code, known.count) != (code, count):
            raise Refused("a storage in it is named with two sizes")
        if len(self.found) > MAX_TENSORS:
            raise Refused(f"it has more than {MAX_TENSORS} storages")
        return known


class ZippedStorages(DeclaredStorages):
    """The storages of an archive, each a member of its own."""

    def __init__(self, archive: Archive) -> None:
        super().__init__()
        self.archive = archive

    def find(self, key: str, code: str, count: int) -> Storage:
        storage = super().find(key, code, count)
        if storage.data is None:
            data = self.archive.member(f"data/{key}")
            if len(data) != count * STORAGES[code][1]:
                raise Refused("a storage in it has another size than it says")
            storage.data = data
        return storage


class TorchVocabulary(Vocabulary):
    """The names of a checkpoint, in which torch may have kept storages in byte strings."""

    def stored(self, data: Bytes) -> Storage:
        return storage_in_bytes(data, self.budget)


class Plain(Vocabulary):
    """For the small pickles before the numbers: the classes of storages, and no other name."""

    def named(self, module: str, name: str) -> object:
        if storage_code(f"{module}.{name}") is None:
            raise Refused(f"a storage in it names {f'{module}.{name}'[:120]!r}")
        return super().named(module, name)


def read_zip(data: memoryview, budget: Budget) -> tuple[object, Vocabulary]:
    """The object that torch.save wrote into a zip archive."""
    archive = Archive(data)
    if "byteorder" in archive.names and bytes(archive.member("byteorder")) != b"little":
        raise Refused("it was written on a machine with another order of bytes")
    vocabulary = TorchVocabulary(budget, ZippedStorages(archive))
    pickle = archive.member("data.pkl")
    machine = Machine(pickle, vocabulary, budget)
    found = machine.run()
    if machine.position != len(pickle):
        raise Refused("there is something behind the pickle in it")
    return found, vocabulary


def read_legacy(data: memoryview, budget: Budget) -> tuple[object, Vocabulary]:
    """The object that torch.save wrote before torch 1.6."""
    storages = DeclaredStorages()
    vocabulary = TorchVocabulary(budget, storages)
    found, end = _read_stream(data, vocabulary, storages, budget)
    if end != len(data):
        raise Refused("there is something behind the numbers in it")
    return found, vocabulary


def storage_in_bytes(data: Bytes, budget: Budget) -> Storage:
    """A storage that torch.save wrote into a byte string."""
    raw = plain_bytes(data, budget)
    storages = DeclaredStorages()
    found, _ = _read_stream(raw, Plain(budget, storages), storages, budget)
    if not isinstance(found, Storage):
        raise Refused("a byte string in it holds no storage")
    found.data = data
    return found


def _read_stream(
    data: memoryview, vocabulary: Vocabulary, storages: DeclaredStorages, budget: Budget
) -> tuple[object, int]:
    """The object of a stream of the older form, its storages placed, and where the stream ends."""
    machine = Machine(data, Plain(budget), budget)
    magic, protocol, system = (machine.run() for _ in range(3))
    if magic != MAGIC or protocol != PROTOCOL or type(system) is not dict:
        raise Refused("a storage in it is not what torch.save writes")
    if system.get("little_endian") is not True:
        raise Refused("it was written on a machine with another order of bytes")
    machine = Machine(data, vocabulary, budget, machine.position)
    found = machine.run()
    machine = Machine(data, Plain(budget), budget, machine.position)
    keys = machine.run()
    if (
        type(keys) is not list
        or not all(isinstance(key, str) for key in keys)
        or sorted(keys) != sorted(storages.found)
    ):
        raise Refused("its storages are not those that it names")
    position = machine.position
    for key in keys:
        position = _place(storages.found[str(key)], data, position)
    return found, position


def _place(storage: Storage, data: memoryview, position: int) -> int:
    """Set where a storage's numbers lie: behind their count. Returns where they end."""
    if position + 8 > len(data):
        raise Refused("it is cut short")
    (count,) = struct.unpack("<q", data[position : position + 8])
    start = position + 8
    end = start + storage.count * STORAGES[storage.code][1]
    if count != storage.count or end > len(data):
        raise Refused("a storage in it has another size than it says")
    storage.data, storage.offset = data, start
    return end
