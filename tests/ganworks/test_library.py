"""The library: what there is, loaded once, within a budget."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import ganworks
from ganworks import generator as generator_module
from ganworks.generator import save_generator
from ganworks.library import Library
from ganworks.networks.upscaler import UpscalerNetwork
from ganworks.superresolution import save_upscaler

from .conftest import small_network


@pytest.fixture
def library(folder: Path) -> Library:
    return Library([folder], device="cpu")


def test_a_generator_is_listed_with_what_its_header_says(library: Library) -> None:
    info = library.info("small")
    assert (info.label, info.resolution, info.z_dim, info.w_dim) == ("Small", 32, 16, 24)
    assert (info.num_ws, info.c_dim, info.classes, info.license) == (8, 0, (), "CC0-1.0")
    assert info.has_components
    assert info.has_critic
    assert info.bytes == info.path.stat().st_size
    assert "small" in library.names()


def test_the_starters_are_always_listed() -> None:
    listed = {info.name for info in Library().generators()} | {info.name for info in Library().upscalers()}
    for folder in ganworks.info.STARTERS.iterdir():
        if any(folder.glob("*.safetensors")):
            assert folder.name in listed


def test_a_generator_is_found_by_its_content(library: Library) -> None:
    info = library.info("small")
    assert library.by_sha256(info.sha256) == info
    assert library.by_sha256("0" * 64) is None


def test_a_generator_is_loaded_once_and_kept(library: Library) -> None:
    assert library.generator("small") is library.generator("small")
    assert library.basis("small") is library.basis("small")
    assert library.critic("small") is library.critic("small")


def test_many_threads_that_ask_at_once_share_one_load(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads, real = [], generator_module.load_generator

    def slowly(*arguments: object) -> object:
        loads.append(1)
        threading.Event().wait(0.2)
        return real(*arguments)  # type: ignore[arg-type]  # whatever it was called with

    monkeypatch.setattr(generator_module, "load_generator", slowly)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(library.generator, ["small"] * 8))
    assert len(loads) == 1
    assert len(set(map(id, found))) == 1


def test_a_load_that_failed_is_tried_again(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    real = generator_module.load_generator

    def failing(*arguments: object) -> object:
        raise ganworks.OutOfMemory("There is not enough memory for this.")

    monkeypatch.setattr(generator_module, "load_generator", failing)
    with pytest.raises(ganworks.OutOfMemory):
        library.generator("small")
    monkeypatch.setattr(generator_module, "load_generator", real)
    assert library.generator("small").resolution == 32


def test_what_was_used_longest_ago_is_forgotten_when_the_budget_is_full(folder: Path) -> None:
    for name in ("second", "third"):
        save_generator(small_network(seed=len(name)), folder / name / "generator.safetensors", label=name)
    size = Library([folder]).info("small").bytes
    library = Library([folder], device="cpu", memory_budget_bytes=int(2.5 * size))
    first, second = library.generator("small"), library.generator("second")
    assert library.generator("small") is first
    library.generator("third")
    assert library.loaded_bytes <= 2.5 * size
    assert library.generator("small") is first
    assert library.generator("second") is not second


def test_a_generator_larger_than_the_budget_still_loads(folder: Path) -> None:
    library = Library([folder], device="cpu", memory_budget_bytes=1)
    assert library.generator("small").resolution == 32


def test_a_name_that_is_not_there_names_those_that_are(library: Library) -> None:
    with pytest.raises(ganworks.GeneratorNotFound, match=r"no generator named '\.\./small'.*small"):
        library.generator("../small")
    with pytest.raises(ganworks.UpscalerNotFound, match="no upscaler named 'none'"):
        library.upscaler("none")


def test_a_damaged_file_is_left_out_and_reported(folder: Path, library: Library) -> None:
    broken = folder / "broken" / "generator.safetensors"
    broken.parent.mkdir()
    broken.write_bytes(b"nothing")
    assert "broken" not in library.names()
    assert any("broken/generator.safetensors" in problem for problem in library.problems())


def test_a_file_that_was_replaced_is_read_anew(folder: Path, library: Library) -> None:
    before = library.generator("small")
    save_generator(small_network(seed=5), folder / "small" / "generator.safetensors", label="New")
    after = library.generator("small")
    assert after is not before
    assert after.info.label == "New"


def test_components_of_another_generator_are_refused(folder: Path, library: Library) -> None:
    save_generator(small_network(seed=5), folder / "small" / "generator.safetensors", label="New")
    with pytest.raises(ganworks.BasisMismatch):
        library.basis("small")


def test_missing_components_say_how_to_compute_them(folder: Path, library: Library) -> None:
    (folder / "small" / "components.safetensors").unlink()
    assert not library.info("small").has_components
    with pytest.raises(ganworks.BasisNotFound, match=r"python -m ganworks\.components"):
        library.basis("small")


def test_a_generator_without_a_critic_has_none(folder: Path, library: Library) -> None:
    (folder / "small" / "critic.safetensors").unlink()
    assert library.critic("small") is None


def test_the_first_directory_with_a_name_wins(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    save_generator(small_network(seed=5), other / "small" / "generator.safetensors", label="Other")
    assert Library([other, folder]).info("small").label == "Other"
    shutil.rmtree(other)
    assert Library([other, folder]).info("small").label == "Small"


def test_an_upscaler_is_listed_and_loaded_once(folder: Path, library: Library) -> None:
    network = UpscalerNetwork(channels=8, blocks=1, scale=4)
    save_upscaler(network, folder / "up" / "upscaler.safetensors", label="Up", license="CC0-1.0")
    assert [info.scale for info in library.upscalers() if info.name == "up"] == [4]
    assert library.upscaler("up") is library.upscaler("up")
