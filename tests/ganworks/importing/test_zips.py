"""Zip archives as torch writes them, and as attackers do."""

import io
import struct
import zipfile

import pytest
import torch

from ganworks.importing.refusal import Budget, Refused
from ganworks.importing.torchfiles import read_legacy, read_zip
from ganworks.importing.zips import Archive

from .writer import legacy, zipped


def archive(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as found:
        for name, data in members:
            found.writestr(name, data)
    return file.getvalue()


def refusal(data: bytes) -> str:
    with pytest.raises(Refused) as caught:
        Archive(memoryview(data)).member("data.pkl")
    return caught.value.reason


def test_an_archive_that_torch_itself_wrote_is_read() -> None:
    file = io.BytesIO()
    value = {"a": torch.arange(6.0).view(2, 3).t(), "b": torch.ones(2, dtype=torch.bfloat16), "n": 3}
    torch.save(value, file)
    data = file.getvalue()
    found, _ = read_zip(memoryview(data), Budget(len(data)))
    assert isinstance(found, dict)
    assert found["n"] == 3
    assert (found["a"].shape, found["a"].strides) == ((3, 2), (1, 3))


def test_what_torch_wrote_before_it_used_archives_is_read() -> None:
    file = io.BytesIO()
    torch.save(
        {"a": torch.arange(6.0), "b": torch.zeros(3).half()}, file, _use_new_zipfile_serialization=False
    )
    data = file.getvalue()
    found, _ = read_legacy(memoryview(data), Budget(len(data)))
    assert isinstance(found, dict)
    assert (found["a"].shape, found["b"].shape) == ((6,), (3,))


def test_an_archive_of_four_gigabytes_has_wide_fields_that_are_understood() -> None:
    data = zipped({"a": torch.ones(3)})
    end = data.rfind(b"PK\x05\x06")
    count, size, start = struct.unpack("<HLL", data[end + 10 : end + 20])
    wide = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
    place = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    full = struct.pack("<4s4H2LH", b"PK\x05\x06", 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    data = data[:end] + wide + place + full
    found, _ = read_zip(memoryview(data), Budget(len(data)))
    assert isinstance(found, dict)


ARCHIVES = {
    "compressed": (archive(("a/data.pkl", bytes(10**6)), method=zipfile.ZIP_DEFLATED), "compressed"),
    "two folders": (archive(("a/data.pkl", b""), ("b/data.pkl", b"")), "not one that torch.save wrote"),
    "no pickle": (archive(("a/x", b"")), "not one that torch.save wrote"),
    "no folder": (archive(("data.pkl", b"")), "not one that torch.save wrote"),
    "a folder above": (archive(("a/data.pkl", b""), ("a/../../etc/passwd", b"")), "malformed name"),
    "a path from the root": (archive(("/a/data.pkl", b"")), "malformed name"),
    "a program": (archive(("a/data.pkl", b""), ("a/code/x.py", b"")), "TorchScript"),
    "cut short": (archive(("a/data.pkl", b"x" * 100))[:-30], "cut short"),
    "something behind": (archive(("a/data.pkl", b"")) + b"more", "behind the zip archive"),
    "an empty archive": (b"PK\x05\x06" + bytes(18), "not one that torch.save wrote"),
}


@pytest.mark.parametrize("case", ARCHIVES)
def test_archives_that_torch_would_not_write_are_refused(case: str) -> None:
    data, sentence = ARCHIVES[case]
    assert sentence in refusal(data)


def entry(data: bytes, number: int) -> int:
    """Where the central directory has a member."""
    place = data.find(b"PK\x01\x02")
    for _ in range(number):
        place = data.find(b"PK\x01\x02", place + 1)
    return place


def with_field(data: bytes, place: int, form: str, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(form, changed, place, value)
    return bytes(changed)


def test_sizes_and_places_that_lie_are_refused() -> None:
    data = archive(("a/data.pkl", b"x" * 40), ("a/data/0", b"y" * 40))
    first, second = entry(data, 0), entry(data, 1)
    lie = with_field(with_field(data, first + 20, "<L", 10**6), first + 24, "<L", 10**6)
    assert "lie about their size" in refusal(lie)
    over = with_field(with_field(data, first + 20, "<L", 60), first + 24, "<L", 60)
    assert "overlap" in refusal(over)
    assert "names other parts" in refusal(with_field(data, second + 42, "<L", 0))
    assert "damaged" in refusal(with_field(data, second + 42, "<L", 3))
    end = data.rfind(b"PK\x05\x06")
    assert "table of contents lies" in refusal(with_field(data, end + 10, "<H", 1))
    assert "lies about its size" in refusal(with_field(data, end + 10, "<H", 60_000))
    assert "cut short" in refusal(with_field(data, end + 10, "<H", 3))


def test_two_members_of_one_name_are_refused() -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        data = archive(("a/data.pkl", b"1"), ("a/data.pkl", b"2"))
    assert "two parts of the same name" in refusal(data)


def test_an_archive_of_the_other_order_of_bytes_is_refused() -> None:
    data = zipped({"a": torch.ones(3)}).replace(b"little", b"bigggg")
    with pytest.raises(Refused, match="order of bytes"):
        read_zip(memoryview(data), Budget(len(data)))


def test_storages_that_lie_or_are_missing_are_refused() -> None:
    data = zipped({"a": torch.ones(3)})
    for change in (
        data.replace(b"archive/data/0", b"archive/data/7"),
        data.replace(b"FloatStorage", b"CharsStorage"),
    ):
        with pytest.raises(Refused):
            read_zip(memoryview(change), Budget(len(change)))
    shorter = zipped({"a": torch.ones(3)}).replace(b"K\x03N", b"K\x02N").replace(b"K\x03t", b"K\x02t")
    with pytest.raises(Refused, match="another size than it says"):
        read_zip(memoryview(shorter), Budget(len(shorter)))


def test_a_stream_of_old_with_something_behind_it_is_refused() -> None:
    data = legacy({"a": torch.ones(3)})
    with pytest.raises(Refused, match="behind the numbers"):
        read_legacy(memoryview(data + b"x"), Budget(len(data)))
    with pytest.raises(Refused, match="another size"):
        read_legacy(memoryview(data[:-1]), Budget(len(data)))
