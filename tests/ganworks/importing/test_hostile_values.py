"""Sound containers with values that no honest tool writes: each is refused in one short sentence, or made harmless."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ganworks
from ganworks import checkpoint
from ganworks.errors import CheckpointError
from ganworks.generator import open_generator, save_generator
from ganworks.importing.reader import read
from ganworks.importing.refusal import MIN_BUDGET_BYTES, Refused

from ..conftest import small_network
from .writer import Call, Name, child, generator, pickled, state_of, zipped


def imported(folder: Path, data: bytes, name: str = "file.pkl") -> ganworks.ImportReport:
    source = folder / name
    source.write_bytes(data)
    return ganworks.import_checkpoint(source, folder / "model" / "generator.safetensors")


def sentence(folder: Path, data: bytes, name: str = "file.pkl") -> str:
    """What is said of a file that is refused: short, and safe to print anywhere."""
    with pytest.raises(CheckpointError) as caught:
        imported(folder, data, name)
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) <= 300
    assert not (folder / "model").exists()
    return said


def peak_bytes(data: bytes) -> int:
    tracemalloc.start()
    try:
        with pytest.raises(Refused):
            read(memoryview(data))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# --- Sentences --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "\x1b[31mred.pkl",
        "a\nb.pkl",
        "\u202egnp.pkl",
        b"\xff\xfe.pkl".decode("utf-8", "surrogateescape"),
        "n" * 250,
    ],
)
def test_a_file_name_cannot_smuggle_anything_into_a_sentence(tmp_path: Path, name: str) -> None:
    sentence(tmp_path, b"neither", name)


@pytest.mark.parametrize("text", ["\x1b]0;title\x07", "<script>" * 4000, "\u202e" * 90, "\0", "'\"" * 5000])
def test_words_from_a_file_cannot_smuggle_anything_into_a_sentence(tmp_path: Path, text: str) -> None:
    for value in (
        {text: 1, "b": 2},
        {"state_dict": {f"decoder.{text}": 1}},
        {"convs.0.conv.modulation.weight": 1, text: 2},
    ):
        sentence(tmp_path, pickled(value))
    module = generator("skip")
    state_of(module)[text] = text
    state_of(child(module, "mapping", "fc0"))["activation"] = text
    sentence(tmp_path, pickled({"G_ema": module}))


def test_a_file_name_that_is_no_text_does_not_stop_a_good_file(tmp_path: Path) -> None:
    name = b"\xff\x1b.pkl".decode("utf-8", "surrogateescape")
    report = imported(tmp_path, pickled({"G_ema": generator("skip")}), name)
    assert report.source_name.isprintable()


# --- Numbers ----------------------------------------------------------------------------------------------------


def test_an_average_that_would_be_computed_from_huge_latents_is_not(tmp_path: Path) -> None:
    """The mean of w over thousands of latents, where each would have millions of numbers."""
    state: dict[str, Any] = {
        "convs.0.conv.modulation.weight": torch.zeros(1),
        "style.1.weight": torch.zeros(1, 400_000),
        "style.1.bias": torch.zeros(1),
        "input.input": torch.zeros(1, 1, 4, 4),
    }
    for layer in ("conv1", "to_rgb1"):
        outputs = 1 if layer == "conv1" else 3
        state[f"{layer}.conv.weight"] = torch.zeros(1, outputs, 1, 3, 3)
        state[f"{layer}.conv.modulation.weight"] = torch.zeros(1, 1)
        state[f"{layer}.conv.modulation.bias"] = torch.zeros(1)
    state |= {"conv1.activate.bias": torch.zeros(1), "conv1.noise.weight": torch.zeros(1)}
    state |= {"noises.noise_0": torch.zeros(1, 1, 4, 4), "to_rgb1.bias": torch.zeros(1, 3, 1, 1)}
    del state["convs.0.conv.modulation.weight"]
    data = zipped({"g_ema": state})
    assert peak_bytes(data) <= max(4 * len(data), MIN_BUDGET_BYTES)


def test_noise_that_a_file_does_not_have_is_not_made_for_absurd_pictures(tmp_path: Path) -> None:
    module = generator("skip")
    synthesis = state_of(child(module, "synthesis"))["_modules"]
    for block in synthesis.values():
        for layer in state_of(block)["_modules"].values():
            for group in ("_parameters", "_buffers"):
                for name in ("noise_const", "noise_strength"):
                    state_of(layer)[group].pop(name, None)
    for power in range(6, 13):
        synthesis[f"b{2**power}"] = synthesis["b32"]
    assert "times its size" in sentence(tmp_path, pickled({"G_ema": module}))


@pytest.mark.parametrize("shape", [(0, 2**40, 2**40), (2**40, 0), (0,) * 8])
def test_a_tensor_of_no_numbers_and_absurd_sides_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    module = generator("skip")
    form = np.dtype(np.float32)
    array = Call(Name("numpy._core.numeric", "_frombuffer"), (b"", form, shape, "C"))
    state_of(child(module, "mapping"))["_buffers"]["w_avg"] = array
    sentence(tmp_path, pickled({"G_ema": module}))


def test_a_tensor_cannot_take_the_place_of_the_header(tmp_path: Path) -> None:
    module = generator("skip")
    state_of(module)["_buffers"]["__metadata__"] = torch.zeros(3)
    assert "is named '__metadata__'" in sentence(tmp_path, pickled({"G_ema": module}))


# --- PixelLift's own files --------------------------------------------------------------------------------------


def own(tmp_path: Path, **meta: Any) -> bytes:
    path = tmp_path / "own.safetensors"
    save_generator(small_network(), path)
    header = checkpoint.read_header(path)
    raw = path.read_bytes()
    (length,) = np.frombuffer(raw[:8], "<u8")
    content = json.loads(raw[8 : 8 + int(length)])
    content["__metadata__"]["ganworks"] = json.dumps({**header.meta, **meta})
    text = json.dumps(content).encode()
    return len(text).to_bytes(8, "little") + text + raw[8 + int(length) :]


NESTED: list[Any] = []
for _ in range(900):
    NESTED = [NESTED]


@pytest.mark.parametrize(
    "meta",
    [
        {"classes": 5}, {"classes": "abc"}, {"classes": [1]}, {"classes": {"a": 1}}, {"crop": 3}, {"crop": [1]},
        {"crop": ["a"] * 4}, {"img_channels": "3"}, {"img_channels": [[]]}, {"lr_multiplier": "x"},
        {"conv_clamp": []}, {"plan": {"a": [1]}, "architecture": "stylegan3"}, {"architecture": "\0"},
        {"channel_base": None}, {"channel_max": -1}, {"lr_multiplier": float("nan")}, {"num_layers": 65},
        {"synthesis_architecture": "\ud800"}, {"crop": [2**70, 0, 0, 0]}, {"z_dim": True},
        {"plan": NESTED}, {"plan": {"\ud800": 1}},
    ],
)  # fmt: skip
def test_a_file_of_our_own_with_a_strange_header_is_refused(tmp_path: Path, meta: dict[str, Any]) -> None:
    sentence(tmp_path, own(tmp_path, **meta))


@pytest.mark.parametrize("text", ["\ud800", "\0", "\x1b[31m", "l" * 100_000, "two\nlines"])
def test_texts_of_our_own_files_are_made_plain_and_short(tmp_path: Path, text: str) -> None:
    imported(tmp_path, own(tmp_path, label=text, license=text, description=text))
    info = open_generator(tmp_path / "model").info
    assert len(info.label) <= 80
    assert len(info.license) <= 300
    assert len(info.description) <= 2000
    assert all(value.isprintable() for value in (info.label, info.license))
