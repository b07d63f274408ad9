"""Training on a folder of pictures: what is read, how it is shown, resuming exactly, tuning, and what comes of it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ganworks
from ganworks.checkpoint import read_header
from ganworks.errors import InvalidInput
from ganworks.generator import save_generator
from ganworks.training import journal, losses
from ganworks.training.__main__ import main
from ganworks.training.config import Config, Stage
from ganworks.training.finish import finish
from ganworks.training.folders import PictureFolder, prepare_folder
from ganworks.training.networks import config_for_tuning, load_for_tuning, synthesize
from ganworks.training.train import Trainer

from .conftest import small_network

FILES = 12


def tiny(**changes: Any) -> Config:
    small = {
        "pictures": 24,
        "batch": 4,
        "z_dim": 16,
        "w_dim": 24,
        "channel_base": 256,
        "channel_max": 16,
        "discriminator_channel_base": 256,
        "r1_every": 2,
        "path_length_weight": 2.0,
        "path_length_every": 2,
        "style_mixing": 0.5,
        "mirror": True,
        "augment_speed_pictures": 20,
        "augment_target": -0.5,  # so that p rises at once
    }
    return Config.for_images(16, **{**small, **changes})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of several formats and shapes, one of them in a folder below."""
    path = tmp_path_factory.mktemp("pictures")
    (path / "more").mkdir()
    random = np.random.default_rng(0)
    endings = ("png", "jpg", "webp", "gif", "bmp", "tif")
    for number in range(FILES):
        size = (24 + number, 40 - number, 3)
        picture = Image.fromarray(random.integers(0, 256, size, dtype=np.uint8))
        folder = path / "more" if number == 0 else path
        picture.save(folder / f"{number:02d}.{endings[number % len(endings)]}")
    return path


@pytest.fixture(scope="module")
def data(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data")
    assert prepare_folder(source, path, 16) == []
    return path


def new_trainer(data: Path, work: Path, config: Config, **more: Any) -> Trainer:
    return Trainer(config, PictureFolder(data, config.held_out, config.mirror), work, **more)


def state(trainer: Trainer) -> dict[str, torch.Tensor]:
    parts = ("generator", "ema", "discriminator")
    found = {f"{p}.{key}": value for p in parts for key, value in getattr(trainer, p).state_dict().items()}
    return found | {"path_mean": trainer.path_mean, "p": torch.tensor(trainer.controller.p)}


# --- Files ------------------------------------------------------------------------------------------------------


def test_pictures_of_all_formats_are_read_also_from_folders_below(data: Path) -> None:
    pictures = PictureFolder(data)
    assert (len(pictures), pictures.size) == (FILES, 16)
    assert pictures.batch(np.arange(FILES), 16).pictures.std() > 0.1


def test_the_square_in_the_middle_is_kept(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    wide = Image.new("RGB", (64, 16), "red")
    wide.paste((0, 0, 255), (24, 0, 40, 16))
    for number in range(8):
        wide.save(source / f"{number}.png")
    prepare_folder(source, tmp_path / "data", 16)
    picture = PictureFolder(tmp_path / "data").batch(np.array([0]), 16).pictures[0]
    assert torch.equal(picture.flatten(1).t().unique(dim=0), torch.tensor([[-1.0, -1.0, 1.0]]))


def test_a_picture_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    lying = Image.new("RGB", (16, 16), "black")
    lying.paste((255, 255, 255), (0, 0, 16, 8))
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    for number in range(8):
        lying.save(source / f"{number}.jpg", exif=exif, quality=95)
    prepare_folder(source, tmp_path / "data", 16)
    picture = PictureFolder(tmp_path / "data").batch(np.array([0]), 16).pictures[0]
    assert picture[:, 8:].mean() > 0.8
    assert picture[:, :8].mean() < -0.8


def test_what_is_no_picture_or_too_small_is_left_out_with_a_sentence(source: Path, tmp_path: Path) -> None:
    for path in source.rglob("*.*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    (tmp_path / "page.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0")
    (tmp_path / "notes.txt").write_text("Not a picture, and not called one.")
    (tmp_path / ".hidden.png").write_bytes(b"")
    Image.new("RGB", (4, 4)).save(tmp_path / "tiny.png")
    left_out = prepare_folder(tmp_path, tmp_path / "data", 16)
    assert left_out == [
        "broken.png cannot be read as a picture.",
        "page.jpg cannot be read as a picture.",
        "tiny.png is smaller than 8 pixels.",
    ]
    assert len(PictureFolder(tmp_path / "data")) == FILES


def test_a_folder_is_read_once_and_again_only_if_it_changed(source: Path, tmp_path: Path) -> None:
    copied = tmp_path / "source"
    copied.mkdir()
    for path in source.rglob("*.*"):
        (copied / path.name).write_bytes(path.read_bytes())
    calls: list[int] = []
    for _ in range(2):
        prepare_folder(copied, tmp_path / "data", 16, lambda done, of: calls.append(done))
    assert len(calls) == FILES
    next(copied.glob("*.png")).unlink()
    prepare_folder(copied, tmp_path / "data", 16, lambda done, of: calls.append(done))
    assert len(PictureFolder(tmp_path / "data")) == FILES - 1


def test_too_few_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "page.png").write_text("<html>")
    with pytest.raises(InvalidInput, match=r"0 pictures .* page.png cannot be read"):
        prepare_folder(tmp_path, tmp_path / "data", 16)
    with pytest.raises(InvalidInput, match="not a folder"):
        prepare_folder(tmp_path / "nowhere", tmp_path / "data", 16)


# --- Batches ----------------------------------------------------------------------------------------------------


def test_each_round_shows_each_picture_once(data: Path) -> None:
    pictures = PictureFolder(data)
    shown = torch.cat([pictures.at_step(step, 4, 16, seed=3).pictures for step in range(FILES // 4)])
    assert len(shown.flatten(1).unique(dim=0)) == FILES


def test_mirrored_pictures_are_about_half(data: Path) -> None:
    plain, mirrored = PictureFolder(data), PictureFolder(data, mirror=True)
    same = 0
    for step in range(30):
        a, b = (pictures.at_step(step, 8, 16, seed=0).pictures for pictures in (plain, mirrored))
        for x, y in zip(a, b, strict=True):
            assert torch.equal(x, y) or torch.equal(x.flip(2), y)
            same += torch.equal(x, y)
    assert 85 <= same <= 155


def test_held_out_pictures_are_not_trained_on(data: Path) -> None:
    pictures = PictureFolder(data, held_out=4)
    (held,) = pictures.held_out_batches(16, 16)
    assert (len(pictures), len(held.pictures)) == (FILES - 4, 4)
    with pytest.raises(InvalidInput, match="Hold out fewer"):
        PictureFolder(data, held_out=FILES)


# --- The loop ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_stopped_run_on_pictures_goes_on_bit_for_bit(data: Path, tmp_path: Path, precision: str) -> None:
    config = tiny(precision=precision)
    straight = new_trainer(data, tmp_path / "straight", config)
    straight.run()
    new_trainer(data, tmp_path / "stopped", config).run(steps=3)
    resumed = new_trainer(data, tmp_path / "stopped", config)
    assert resumed.resume()
    resumed.run()
    assert resumed.step == straight.step == 6
    expected, found = state(straight), state(resumed)
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    assert straight.controller.p > 0
    assert straight.path_mean > 0


def test_a_discriminator_can_judge_growing_stages(data: Path, tmp_path: Path) -> None:
    stages = (Stage(8, 8, adversarial=True), Stage(16, 16, adversarial=True))
    config = replace(tiny(), stages=stages)
    trainer = new_trainer(data, tmp_path / "work", config)
    assert trainer.discriminator.entries == [8, 16]
    before = trainer.discriminator.b16.conv0.weight.clone()
    trainer.run(steps=2)
    assert torch.equal(trainer.discriminator.b16.conv0.weight, before)
    trainer.run()
    assert not torch.equal(trainer.discriminator.b16.conv0.weight, before)
    figures = finish(trainer, tmp_path / "grown")
    assert figures["psnr_db_mean"] is None
    ganworks.Library([tmp_path]).critic("grown")


def test_the_newest_block_of_a_growing_discriminator_is_faded_in() -> None:
    stages = (
        Stage(8, 100, adversarial=True),
        Stage(16, 100, adversarial=True),
        Stage(16, 50, adversarial=True),
    )
    config = replace(tiny(), stages=stages, fade_in=0.2)
    assert [config.fade_at(n) for n in (0, 99, 100, 110, 120, 199, 210, 999)] == [1, 1, 0, 0.5, 1, 1, 1, 1]


def test_the_discriminator_gets_a_head_start(data: Path, tmp_path: Path) -> None:
    trainer = new_trainer(data, tmp_path, tiny(head_start_pictures=8))
    before = {key: value.clone() for key, value in trainer.generator.state_dict().items()}
    trainer.run(steps=2)
    assert all(torch.equal(before[key], value) for key, value in trainer.generator.state_dict().items())
    trainer.run(steps=1)
    assert not torch.equal(before["synthesis.b4.const"], trainer.generator.synthesis.b4.const)


def test_training_makes_pictures_of_two_colors_look_like_the_real_ones(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(16):
        Image.new("RGB", (16, 16), (200 + number, 60, 20)).save(source / f"{number}.png")
    prepare_folder(source, tmp_path / "data", 16)
    config = tiny(
        pictures=800,
        batch=8,
        augment_target=0.6,
        ema_half_life_pictures=100.0,
        path_length_weight=0.0,
        style_mixing=0.0,
    )
    trainer = new_trainer(tmp_path / "data", tmp_path / "work", config)
    trainer.run()
    z = torch.randn(8, 16, generator=torch.Generator().manual_seed(1))
    mean = trainer.ema(z).mean(dim=(0, 2, 3))
    torch.testing.assert_close(mean, torch.tensor([0.63, -0.53, -0.84]), atol=0.25, rtol=0)


def test_compiled_training_gives_the_same_numbers(data: Path, tmp_path: Path) -> None:
    plain = new_trainer(data, tmp_path / "plain", tiny())
    traced = new_trainer(data, tmp_path / "traced", tiny(), compile_with="aot_eager")
    for _ in range(2):
        expected, found = plain.train_step(), traced.train_step()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)


def test_half_precision_stays_near_float32(data: Path, tmp_path: Path) -> None:
    exact = new_trainer(data, tmp_path / "exact", tiny()).train_step()
    rough = new_trainer(data, tmp_path / "rough", tiny(precision="bfloat16")).train_step()
    for name, value in exact.items():
        torch.testing.assert_close(rough[name], value, rtol=0.1, atol=0.05)


def test_pictures_stay_float32_where_layers_are_not() -> None:
    network = small_network().synthesis
    ws = torch.randn(2, network.num_ws, 24)
    with torch.autocast("cpu", torch.bfloat16):
        rough = synthesize(network, ws, 32)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, network(ws, noise_mode="none"), rtol=0.1, atol=0.1)


def test_path_lengths_of_a_linear_generator_are_its_slopes() -> None:
    ws = torch.randn(5, 2, 3, requires_grad=True)
    slope = torch.randn(3, 48)
    pictures = (ws.sum(dim=1) @ slope).view(5, 3, 4, 4)
    noise = torch.randn(5, 3, 4, 4)
    expected = (noise.flatten(1) @ slope.t() / 4).norm(dim=1)
    torch.testing.assert_close(losses.path_lengths(ws, pictures, noise), expected)


def test_losses_that_are_no_numbers_end_the_run_and_keep_the_checkpoint(data: Path, tmp_path: Path) -> None:
    trainer = new_trainer(data, tmp_path, tiny())
    trainer.run(steps=1)
    saved = (tmp_path / "checkpoint.pt").read_bytes()
    trainer.generator.synthesis.b4.const.data.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="no longer numbers"):
        trainer.run(log_every=1)
    assert (tmp_path / "checkpoint.pt").read_bytes() == saved


def test_a_resumed_log_has_each_step_once(data: Path, tmp_path: Path) -> None:
    trainer = new_trainer(data, tmp_path, tiny())
    trainer.run(steps=2, log_every=1)
    checkpoint = (tmp_path / "checkpoint.pt").read_bytes()
    trainer.run(steps=2, log_every=1)
    (tmp_path / "checkpoint.pt").write_bytes(checkpoint)  # as if it had been killed before it saved
    resumed = new_trainer(data, tmp_path, tiny())
    resumed.resume()
    resumed.run(log_every=1)
    lines = (tmp_path / "log.csv").read_text().splitlines()
    assert lines[0] == ",".join(journal.COLUMNS)
    assert [line.split(",")[0] for line in lines[1:]] == ["4", "8", "12", "16", "20", "24"]


def test_a_log_of_an_older_run_keeps_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("pictures,resolution,paired\n16,8,0.5\n")
    journal.append(path, journal.Progress(32, 64, 8, 1.0, 2.0, {"paired": 0.25, "r1": 1.0}))
    assert path.read_text().splitlines()[1:] == ["16,8,0.5", "32,8,0.25"]


# --- Tuning -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["skip", "orig", "resnet"])
def test_an_imported_generator_is_trained_further(source: Path, tmp_path: Path, architecture: str) -> None:
    path = tmp_path / "start" / "generator.safetensors"
    network = small_network(architecture=architecture)  # type: ignore[arg-type]  # a text among numbers
    save_generator(network, path, label="Start", license="CC0-1.0", description="")
    config = config_for_tuning(str(path), pictures=16, batch=4)
    prepare_folder(source, tmp_path / "data", 32)
    trainer = new_trainer(tmp_path / "data", tmp_path / "work", config)
    trainer.tune(load_for_tuning(str(path)))
    torch.testing.assert_close(trainer.ema(torch.ones(1, 16)), network(torch.ones(1, 16)))
    trainer.run()
    again = Trainer(
        Config.from_json((tmp_path / "work" / "config.json").read_text()), trainer.data, tmp_path / "work"
    )
    assert again.resume()
    finish(again, tmp_path / "tuned")
    meta = read_header(tmp_path / "tuned" / "generator.safetensors", "generator").meta
    assert (meta["label"], meta["license"], meta["synthesis_architecture"]) == (
        "tuned",
        "CC0-1.0",
        architecture,
    )
    assert "from the weights of Start" in meta["description"]


def test_a_generator_with_classes_is_not_tuned(tmp_path: Path) -> None:
    path = tmp_path / "generator.safetensors"
    save_generator(small_network(c_dim=3), path, label="Kinds", license="", description="")
    with pytest.raises(InvalidInput, match="Kinds cannot be trained further"):
        config_for_tuning(str(path))


# --- The commands -----------------------------------------------------------------------------------------------


def test_the_commands_train_on_a_folder_and_tune(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work, small = ["--work", str(tmp_path / "run"), "--device", "cpu"], ["--pictures", "8", "--batch", "4"]
    sizes = ["--size", "16", "--channel-base", "256", "--channel-max", "16"]
    assert main(["train", *work, "--images", str(source), *small, *sizes, "--mirror"]) == 0
    assert main(["train", *work, "--images", str(source)]) == 0
    assert "Going on after 8 pictures." in capsys.readouterr().out
    assert (
        main(["finish", *work, "--to", str(tmp_path / "out"), "--label", "Ours", "--license", "CC0-1.0"]) == 0
    )
    assert read_header(tmp_path / "out" / "generator.safetensors", "generator").meta["label"] == "Ours"
    figures = json.loads((tmp_path / "run" / "figures.json").read_text())
    assert figures["swd_generated_to_pictures"]["16"] > 0
    more = ["--work", str(tmp_path / "more"), "--device", "cpu"]
    assert main(["train", *more, "--images", str(source), *small, "--start-from", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "more" / "config.json").read_text())["origin"][:2] == ["Ours", "CC0-1.0"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--size", "24", "--images", "SOURCE"], "power of two"),
        (["--images", "nowhere"], "not a folder"),
        (["--images", "SOURCE", "--precision", "half"], "float32, bfloat16"),
        (["--images", "SOURCE", "--size", "16", "--device", "cuda:99"], "not in this machine"),
        (["--images", "SOURCE", "--start-from", "nothing"], "no generator"),
        (["--mirror"], "There is no --images"),
        (["--images", "SOURCE", "--start-from", "portraits", "--size", "64"], "draws 128 pixels"),
    ],
)
def test_mistakes_are_explained(
    options: list[str], sentence: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(source) if word == "SOURCE" else word for word in options]
    assert main(["train", "--work", str(tmp_path / "run"), *words]) == 1
    assert sentence in capsys.readouterr().err


def test_settings_of_a_run_are_not_changed_by_options(
    source: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new_trainer(data, tmp_path, tiny()).run(steps=1)
    assert main(["train", "--work", str(tmp_path), "--images", str(source), "--batch", "8"]) == 1
    assert "--batch cannot be used" in capsys.readouterr().err


def test_settings_that_say_bf16_are_still_read() -> None:
    old = json.dumps({"stages": [{"resolution": 32, "pictures": 4}], "bf16": True})
    assert Config.from_json(old).precision == "bfloat16"
