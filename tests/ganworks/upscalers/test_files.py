"""Files of upscalers from elsewhere: imported, put into a folder as they are, or made to do harm."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save, save_file

import ganworks
from ganworks import checkpoint, upscalers
from ganworks.importing.refusal import Refused
from ganworks.info import read_upscaler_info
from ganworks.upscalers.child import read
from ganworks.upscalers.findings import Findings, note_of

from .support import compact, esrgan, state, swinir


def saved(content: Any, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


@pytest.fixture(autouse=True)
def no_memory_of_earlier_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upscalers, "_found", {})


# Imported


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ganworks.UpscalerReport]:
    """SwinIR as its trainer saves it, imported."""
    source = tmp_path_factory.mktemp("source") / "swinir_x2.pth"
    source.write_bytes(saved({"params_ema": state(swinir()), "iter": 5}))
    target = tmp_path_factory.mktemp("models") / "swin" / "upscaler.safetensors"
    return target, ganworks.import_upscaler(source, target, label="Swin", license="Apache-2.0")


def test_an_imported_file_is_one_of_ours_and_says_where_it_came_from(
    imported: tuple[Path, ganworks.UpscalerReport],
) -> None:
    path, report = imported
    meta = checkpoint.read_header(path, "upscaler").meta
    assert meta["architecture"] == "spandrel"
    assert meta["spandrel_architecture"] == "SwinIR"
    assert (meta["scale"], meta["label"], meta["license"]) == (2, "Swin", "Apache-2.0")
    assert (meta["source_name"], meta["source_sha256"]) == ("swinir_x2.pth", report.source_sha256)
    assert report.sha256 == checkpoint.sha256_of(path)
    info = read_upscaler_info(path)
    assert (info.label, info.scale, info.architecture, info.is_foreign) == ("Swin", 2, "SwinIR", True)


def test_an_imported_upscaler_opens_at_once_and_draws_what_its_network_draws(
    imported: tuple[Path, ganworks.UpscalerReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upscalers, "_run", None)  # it was looked at, and is not looked at again
    upscaler = ganworks.open_upscaler(imported[0])
    image = torch.rand(1, 3, 24, 40) * 2 - 1
    expected = swinir()((image + 1) / 2).clamp(0, 1) * 2 - 1
    torch.testing.assert_close(upscaler(image), expected, atol=1e-4, rtol=0)


def test_a_library_lists_it_with_the_others(imported: tuple[Path, ganworks.UpscalerReport]) -> None:
    library = ganworks.Library([imported[0].parent.parent])
    assert {"swin", "faithful-x4"} <= {info.name for info in library.upscalers()}
    assert library.problems() == []
    assert library.upscaler("swin").scale == 2


# Put there as it is


def test_a_foreign_file_in_a_folder_is_looked_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "my-esrgan" / "upscaler.safetensors"
    path.parent.mkdir()
    save_file(state(esrgan()), path)
    found = ganworks.Library([tmp_path]).upscalers()
    (info,) = [info for info in found if info.name == "my-esrgan"]
    assert (info.scale, info.architecture, info.is_foreign) == (4, "ESRGAN", True)
    assert json.loads(note_of(path).read_text())["sha256"] == info.sha256
    monkeypatch.setattr(upscalers, "_found", {})
    monkeypatch.setattr(upscalers, "_run", None)
    assert ganworks.Library([tmp_path]).upscaler("my-esrgan")(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 32, 32)


def test_a_foreign_file_that_is_none_is_one_problem_and_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "broken" / "upscaler.safetensors"
    path.parent.mkdir()
    save_file({"weight": torch.zeros(4, 4)}, path)
    library = ganworks.Library([tmp_path])
    names = {info.name for info in library.upscalers()}
    assert "faithful-x4" in names
    assert "broken" not in names
    (problem,) = library.problems()
    assert problem.startswith(
        "The file broken/upscaler.safetensors cannot be used: it holds no network that is known"
    )


def test_a_header_that_lies_about_the_network_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "liar" / "upscaler.safetensors"
    meta = {"architecture": "spandrel", "spandrel_architecture": "Compact", "scale": 4, "label": "Liar"}
    checkpoint.write(path, "upscaler", meta, state(compact()))
    assert read_upscaler_info(path).scale == 4
    with pytest.raises(ganworks.CheckpointError, match="enlarges 4 times, and its network enlarges 2 times"):
        ganworks.open_upscaler(path)


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 9},
        {"align_px": 0},
        {"overlap_px": -8},
        {"overlap_px": 12},
        {"purpose": "FaceSR"},
        {"scale": "x"},
    ],
)
def test_a_note_that_cannot_be_true_counts_for_nothing(change: dict[str, Any]) -> None:
    true = Findings("SwinIR", "SR", 2, 1, 8, 16, 0.1, False).as_data()
    assert Findings.from_data(true).overlap_px == 16
    with pytest.raises(ValueError, match="[Ff]indings|invalid literal"):
        Findings.from_data({**true, **change})


# Made to do harm


class Bomb:
    """What an attacker puts into a pickle."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


def refused(data: bytes) -> str:
    with pytest.raises(Refused) as caught:
        read(memoryview(data))
    return caught.value.reason


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_a_program_runs_nothing(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "ran"
    data = saved({"params": state(compact()), "more": Bomb(mark)}, zipped)
    assert refused(data) == "it holds more than tensors and plain data"
    assert not mark.exists()


def test_a_hostile_file_is_one_sentence_and_nothing_is_written(tmp_path: Path) -> None:
    mark, source = tmp_path / "ran", tmp_path / "x4plus.pth"
    source.write_bytes(saved({"params": state(compact()), "more": Bomb(mark)}))
    target = tmp_path / "models" / "evil" / "upscaler.safetensors"
    with pytest.raises(ganworks.CheckpointError) as caught:
        ganworks.import_upscaler(source, target)
    assert str(caught.value).startswith("The file x4plus.pth cannot be imported: it holds more than tensors")
    assert "weights_only" not in str(caught.value)
    assert not mark.exists()
    assert not target.parent.exists()


def test_a_network_of_absurd_depth_ends_in_a_sentence(tmp_path: Path) -> None:
    source = tmp_path / "deep.pth"
    source.write_bytes(saved({**state(compact()), "body.900000000.weight": torch.zeros(12, 16, 3, 3)}))
    with pytest.raises(ganworks.CheckpointError, match="cannot be imported"):
        ganworks.import_upscaler(source, tmp_path / "deep" / "upscaler.safetensors")
    assert not (tmp_path / "deep").exists()


def repacked(data: bytes, compression: int, **members: bytes) -> bytes:
    """A file of torch's with other members, compressed or not."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
        for name, content in members.items():
            new.writestr(f"archive/{name}", content)
    return file.getvalue()


def test_a_compressed_archive_is_refused_before_it_unfolds() -> None:
    bomb = repacked(saved(state(compact())), zipfile.ZIP_DEFLATED, big=bytes(50_000_000))
    assert len(bomb) < 500_000
    assert "compressed" in refused(bomb)


def test_a_tensor_that_is_larger_than_its_numbers_is_refused() -> None:
    endless = torch.zeros(1).expand(1 << 20, 1 << 20)
    assert "more than 4 times its size" in refused(saved({"weight": endless}))


def test_a_compiled_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "program.pt"
    torch.jit.trace(compact(), torch.zeros(1, 3, 8, 8)).save(str(path))
    assert "which torch.save does not write" in refused(path.read_bytes())
    plain = repacked(path.read_bytes(), zipfile.ZIP_STORED)
    assert "program" in refused(plain)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GIF89a" + bytes(100), "neither safetensors nor"),
        (bytes([255] * 7 + [127]) + b"{" + bytes(100), "not a whole safetensors"),
        (pickle.dumps([1, 2, 3], 2), "damaged"),
        (b"\x80\x02" + b"(" * 5000, "damaged"),
        (b"PK\x03\x04" + bytes(100), "zip archive"),
    ],
)
def test_what_is_no_state_dict_at_all_is_refused(data: bytes, reason: str) -> None:
    assert reason in refused(data)


def test_a_file_that_was_cut_short_is_refused() -> None:
    data = save(state(compact()))
    assert "not a whole safetensors" in refused(data[: len(data) // 2])
    data = saved(state(compact()))
    assert refused(data[: len(data) // 2])


@pytest.mark.parametrize("content", [[torch.zeros(1)], {}, {"a": "text"}, {3: torch.zeros(2)}])
def test_a_file_of_something_else_is_refused(content: Any) -> None:
    assert refused(saved(content))


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ganworks.CheckpointError, match="cannot be opened"):
        ganworks.import_upscaler(tmp_path / "none.pth", tmp_path / "a" / "upscaler.safetensors")
    with pytest.raises(ganworks.CheckpointError, match="a folder or a device"):
        ganworks.import_upscaler(tmp_path, tmp_path / "a" / "upscaler.safetensors")
