"""Hostile files: each is refused with a sentence, quickly, with nothing written and nothing run."""

import io
import os
import pickle
import struct
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import ganworks
from ganworks.errors import CheckpointError

from .support import refused
from .writer import Call, Name, child, pickled, snapshot, state_of, zipped

ATTACKED = "attacked"
MAX_SECONDS = 20  # on a busy machine; each takes a fraction of one


class Attack:
    """What Python's own unpickler would run."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch ./{ATTACKED}",)


class Blob:
    """Bytes that pretend to be a storage."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __reduce__(self) -> Any:
        return torch.storage._load_from_bytes, (self.data,)


def buffers(found: Any) -> dict[str, Any]:
    return state_of(child(found["G_ema"], "mapping"))["_buffers"]  # type: ignore[no-any-return]


def as_reduce(found: Any) -> None:
    found["augment_pipe"] = Attack()


def as_source(found: Any) -> None:
    child(found["G_ema"], "synthesis").arguments[0]["module_src"] = (
        f"import os; os.system('touch ./{ATTACKED}')\n"
    )


def as_storage(found: Any) -> None:
    buffers(found)["w_avg"] = Blob(pickle.dumps(Attack()))


def as_nested(found: Any) -> None:
    stream = io.BytesIO()
    torch.save({"a": Attack()}, stream, _use_new_zipfile_serialization=False)
    buffers(found)["w_avg"] = Blob(stream.getvalue())


def as_unknown_global(found: Any) -> None:
    found["training_set_kwargs"] = {"x": Counter("surprise")}


def as_bad_stride(found: Any) -> None:
    buffers(found)["w_avg"] = tensor_of(torch.zeros(4), 0, (1 << 20,), (1,))


def as_huge_storage(found: Any) -> None:
    stream = io.BytesIO()
    torch.save(typed_storage(torch.zeros(4)), stream, _use_new_zipfile_serialization=False)
    buffers(found)["w_avg"] = Blob(
        stream.getvalue().replace(struct.pack("<q", 4), struct.pack("<q", 1 << 40))
    )


def as_recursion(found: Any) -> None:
    loop: list[Any] = []
    loop.append(loop)
    found["training_set_kwargs"] = {"x": loop}


def as_recursive_module(found: Any) -> None:
    state_of(child(found["G_ema"], "mapping"))["me"] = child(found["G_ema"], "mapping").arguments[0]


def as_memo_bomb(found: Any) -> None:
    bomb: Any = ("boom",)
    for _ in range(60):
        bomb = (bomb, bomb)
    found["training_set_kwargs"] = {"x": bomb}


def as_depth(found: Any) -> None:
    deep: Any = ()
    for _ in range(200):
        deep = (deep,)
    found["training_set_kwargs"] = {"x": deep}


def as_shared_modules(found: Any) -> None:
    leaf = child(found["G_ema"], "mapping", "fc0")
    for _ in range(20):
        state = {"_parameters": {}, "_buffers": {}, "_modules": {"a": leaf, "b": leaf}}
        meta = {"type": "class", "version": 6, "module_src": "", "class_name": "x", "state": state}
        leaf = Call(Name("torch_utils.persistence", "_reconstruct_persistent_obj"), (meta,))
    state_of(child(found["G_ema"], "mapping"))["_modules"]["fc9"] = leaf


def as_many_views(found: Any) -> None:
    """Thousands of tensors that are all of the same storage."""
    large = torch.zeros(100_000)
    mapping = buffers(found)
    storage = typed_storage(large)
    for number in range(50):
        mapping[f"x{number}"] = tensor_of(storage, 0, (100_000,), (1,))


def as_infinity(found: Any) -> None:
    buffers(found)["w_avg"] = torch.full((64,), float("inf"))


def as_enum_state(found: Any) -> None:
    found["training_set_kwargs"] = Call(
        Name("dnnlib.util", "EasyDict"), (), items={"__reduce__": Attack()}, new=True
    )


def typed_storage(data: torch.Tensor) -> Any:
    """The storage of a tensor as pickles keep it."""
    return torch.storage.TypedStorage(wrap_storage=data.untyped_storage(), dtype=data.dtype, _internal=True)


def tensor_of(data: Any, offset: Any, shape: Any, strides: Any) -> Call:
    storage = typed_storage(data) if isinstance(data, torch.Tensor) else data
    hooks: dict[str, Any] = OrderedDict()
    arguments = (storage, offset, shape, strides, False, hooks)
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), arguments)


def view(offset: Any, shape: Any, strides: Any) -> Callable[[Any], None]:
    def change(found: Any) -> None:
        buffers(found)["w_avg"] = tensor_of(torch.zeros(64), offset, shape, strides)

    return change


ATTACKS: dict[str, tuple[Callable[[Any], None], str]] = {
    "reduce": (as_reduce, "posix.system"),
    "module_src": (as_source, "os.system"),
    "storage": (as_storage, "posix.system"),
    "nested": (as_nested, "posix.system"),
    "unknown_global": (as_unknown_global, "collections.Counter"),
    "huge_storage": (as_huge_storage, "another size than it says"),
    "bad_stride": (as_bad_stride, "beyond its storage"),
    "recursion": (as_recursion, "holds itself"),
    "recursive module": (as_recursive_module, "holds itself|instructions|not there"),
    "memo bomb": (as_memo_bomb, "unfold"),
    "depth": (as_depth, "nested more than"),
    "shared modules": (as_shared_modules, "unfold"),
    "many views": (as_many_views, "4 times its size"),
    "infinity": (as_infinity, "not finite"),
    "easy dict": (as_enum_state, "posix.system"),
    "negative stride": (view(63, (64,), (-1,)), "strides of a tensor in it is malformed"),
    "negative offset": (view(-1, (64,), (1,)), "offset of a tensor in it is malformed"),
    "sides that overflow": (view(0, (2**40, 2**40, 2**40), (0, 0, 0)), "beyond its storage"),
    "one number for all": (view(0, (2**30,), (0,)), "beyond its storage"),
    "a text as a side": (view(0, ("64",), (1,)), "malformed"),
    "too many sides": (view(0, (1,) * 9, (1,) * 9), "malformed"),
    "no sides": (view(0, (0,), (1,)), "empty tensor"),
}


def test_all_attacks_of_the_reference_are_here() -> None:
    named = {"reduce", "module_src", "storage", "nested", "unknown_global", "huge_storage", "bad_stride"}
    assert named <= ATTACKS.keys()  # the eighth, "truncated", is below


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_file_is_refused_and_nothing_is_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = snapshot("skip")
    change, sentence = ATTACKS[name]
    change(found)
    source = tmp_path / "file.pkl"
    source.write_bytes(pickled(found, 2 if len(name) % 2 else 4))
    start = time.monotonic()
    message = refused(tmp_path, source)
    assert any(part in message for part in sentence.split("|")), message
    assert time.monotonic() - start < MAX_SECONDS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.pkl"]


@pytest.mark.parametrize("part", [0.0001, 0.001, 0.3, 0.5, 0.9, 0.99999])
def test_a_truncated_file_is_refused(part: float, tmp_path: Path) -> None:
    data = pickled(snapshot("skip"))
    source = tmp_path / "file.pkl"
    source.write_bytes(data[: int(len(data) * part)])
    refused(tmp_path, source)


def test_a_module_that_a_file_names_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "planted.py").write_text(f"open({str(tmp_path / ATTACKED)!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    source = tmp_path / "file.pkl"
    source.write_bytes(pickled({"G_ema": Call(Name("planted", "thing"), ())}))
    assert "planted.thing" in refused(tmp_path, source)
    assert not (tmp_path / ATTACKED).exists()


def test_a_hostile_zip_archive_of_torch_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "file.pt"
    source.write_bytes(zipped({"g_ema": Attack()}))
    assert "posix.system" in refused(tmp_path, source)
    assert not (tmp_path / ATTACKED).exists()


KINDS: dict[str, tuple[bytes, str]] = {
    "web page": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "web page"),
    "web page after a blank line": (b"\n\n <HTML lang=en>", "web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1\n", "git lfs pull"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(100), "picture"),
    "photo": (b"\xff\xd8\xff\xe0" + bytes(100), "picture"),
    "text": (b"Hello, I am a text.\n", "a text"),
    "JSON": (b'{"error": "not found"}', "JSON"),
    "gzip": (b"\x1f\x8b\x08" + bytes(50), "Unpack it"),
    "Keras": (b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5"),
    "noise": (bytes(range(1, 200)) * 3, "no kind of checkpoint"),
    "one byte": (b"\x80", "cut short"),
    "a pickle of protocol 0": (b"(dp0\n.", "text"),
    "an empty archive": (b"PK\x05\x06" + bytes(18), "no kind of checkpoint"),
    "a number": (pickle.dumps(7), "a int"),
}


@pytest.mark.parametrize("name", KINDS)
def test_files_that_are_no_checkpoints_are_named_for_what_they_are(name: str, tmp_path: Path) -> None:
    data, sentence = KINDS[name]
    source = tmp_path / "ffhq.pkl"
    source.write_bytes(data)
    assert sentence in refused(tmp_path, source)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "file.pkl"
    source.touch()
    assert "is empty" in refused(tmp_path, source)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert "cannot be opened" in refused(tmp_path, tmp_path / "nothing.pkl")


def test_a_file_of_ten_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    source = tmp_path / "file.pkl"
    with source.open("wb") as file:
        file.truncate(10 * 2**30)
    start = time.monotonic()
    assert "larger than" in refused(tmp_path, source)
    assert time.monotonic() - start < 1


def test_a_sparse_file_is_refused_for_what_it_begins_with(tmp_path: Path) -> None:
    source = tmp_path / "file.pkl"
    with source.open("wb") as file:
        file.truncate(2**30)
    assert "no kind of checkpoint" in refused(tmp_path, source)


def test_folders_pipes_and_links_are_refused(tmp_path: Path) -> None:
    folder, pipe, link = (tmp_path / name for name in ("folder", "pipe", "link"))
    folder.mkdir()
    os.mkfifo(pipe)
    link.symlink_to("/etc/passwd")
    for source in (folder, pipe):
        assert "folder or a device" in refused(tmp_path, source)
    assert "is a link" in refused(tmp_path, link)
    assert "folder or a device" in refused(tmp_path, Path("/dev/zero"))


def test_what_was_there_before_stays_when_a_file_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "model" / "generator.safetensors"
    target.parent.mkdir()
    target.write_text("precious")
    source = tmp_path / "file.pkl"
    source.write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError):
        ganworks.import_checkpoint(source, target)
    assert target.read_text() == "precious"
    assert list(target.parent.iterdir()) == [target]
