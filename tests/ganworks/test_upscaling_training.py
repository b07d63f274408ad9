"""Training the upscaler: drawings from seeds, batches from steps, a run that goes on exactly, measures."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganworks.networks.upscaler import UpscalerNetwork
from ganworks.superresolution import Upscaler, open_upscaler
from ganworks.training import upscaling
from ganworks.training.upscaling import Recipe, Training, schedule, train
from ganworks.training.upscaling_data import Pixels, leaves_picture, portrait_pictures, shrink, training_batch
from ganworks.training.upscaling_measure import drawing_table, enlarge, photo_table, psnr, sheet

TINY = Recipe(channels=4, blocks=1, batch=2, patch=12, warmup_steps=2, precision="fp32")


@pytest.fixture(scope="module")
def store() -> Pixels:
    return np.stack([leaves_picture(seed, 64) for seed in range(4)])


@pytest.fixture
def few_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upscaling, "held_out_pictures", lambda count, size: [leaves_picture(99, 32)])


def test_a_drawing_is_a_function_of_its_seed() -> None:
    assert (leaves_picture(5, 48) == leaves_picture(5, 48)).all()
    assert (leaves_picture(5, 48) != leaves_picture(6, 48)).any()


def test_drawings_have_the_size_and_the_contrast_of_pictures(store: Pixels) -> None:
    assert store.shape == (4, 64, 64, 3)
    assert store.dtype == np.uint8
    assert all(picture.std() > 8 for picture in store)


def test_portraits_are_drawn_as_training_pictures() -> None:
    pictures = portrait_pictures(2, 32, seed=0)
    assert pictures.shape == (2, 32, 32, 3)
    assert pictures.std() > 8


def test_pictures_shrink_as_pillow_shrinks_them(store: Pixels) -> None:
    ours = shrink(torch.from_numpy(store[:1]).permute(0, 3, 1, 2).float(), 4)
    pillow = Image.fromarray(store[0]).resize((16, 16), Image.Resampling.BICUBIC)
    assert np.abs(ours[0].permute(1, 2, 0).numpy() - np.asarray(pillow, np.float32)).max() <= 1


def test_a_batch_is_a_function_of_seed_and_step(store: Pixels) -> None:
    def batch(seed: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        return training_batch(store, seed=seed, step=step, batch=3, patch=8, scale=4)

    small, large = batch(0, 7)
    assert (small.shape, large.shape) == ((3, 3, 8, 8), (3, 3, 32, 32))
    assert float(small.abs().max()) <= 1
    assert float(large.abs().max()) <= 1
    assert torch.equal(small, batch(0, 7)[0])
    assert not torch.equal(small, batch(0, 8)[0])
    assert not torch.equal(small, batch(1, 7)[0])


def test_the_learning_rate_rises_stays_and_falls_to_nothing() -> None:
    rates = [schedule(step, 90, TINY)[0] for step in (0, 1, 50, 75, 90)]
    assert rates == pytest.approx([5e-4, 1e-3, 1e-3, 5e-4, 0])
    assert schedule(10, 90, TINY)[1] == pytest.approx(0.002)
    assert schedule(90, 90, TINY)[1] == pytest.approx(0.1)


@pytest.mark.usefixtures("few_held_out")
def test_training_learns(store: Pixels, tmp_path: Path) -> None:
    recipe = replace(TINY, channels=8, learning_rate=3e-3, batch=4)
    trained = train(store, tmp_path, recipe, steps=150, log_every=75).mean_network()
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [row["step"] for row in rows] == ["75", "150"]
    small, large = training_batch(store, seed=1, step=0, batch=32, patch=12, scale=4)
    untrained = UpscalerNetwork(channels=8, blocks=1)
    with torch.inference_mode():
        error, error_before = ((network(small) - large).abs().mean() for network in (trained, untrained))
    assert float(error) < 0.98 * float(error_before)


@pytest.mark.usefixtures("few_held_out")
def test_a_run_that_was_stopped_goes_on_exactly(store: Pixels, tmp_path: Path) -> None:
    whole = train(store, tmp_path / "whole", TINY, steps=8)
    run = tmp_path / "halves"
    half = Training(TINY)
    for _ in range(3):
        half.advance(store, 8)
    run.mkdir()
    half.save(run / "state.pt")
    resumed = train(store, run, TINY, steps=8)
    assert resumed.step == whole.step == 8
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
        assert torch.equal(whole.mean[name], resumed.mean[name]), name


@pytest.mark.usefixtures("few_held_out")
def test_a_run_without_time_left_is_saved_where_it_was(store: Pixels, tmp_path: Path) -> None:
    train(store, tmp_path, TINY, steps=8, minutes=0)
    assert Training.load(tmp_path / "state.pt").step == 0


@pytest.mark.usefixtures("few_held_out")
def test_another_recipe_does_not_go_on_with_a_run(store: Pixels, tmp_path: Path) -> None:
    train(store, tmp_path, TINY, steps=1)
    with pytest.raises(SystemExit, match="another recipe"):
        train(store, tmp_path, replace(TINY, seed=1), steps=2)


def test_psnr_is_that_of_the_definition() -> None:
    black = np.zeros((16, 16, 3), np.uint8)
    white = np.full((16, 16, 3), 255, np.uint8)
    assert psnr(black, white) == pytest.approx(20 * np.log10(255 / 219), abs=1e-3)  # luma goes from 16 to 235
    assert psnr(black, black) > 100


def test_an_untrained_network_measures_like_bicubic(store: Pixels) -> None:
    result = enlarge(Upscaler(UpscalerNetwork(channels=4, blocks=0)), store[0])
    assert result.small.shape == (16, 16, 3)
    assert result.psnr == pytest.approx(result.psnr_bicubic, abs=0.5)


def test_a_folder_of_photos_is_measured_photo_by_photo(store: Pixels, tmp_path: Path) -> None:
    for name, picture in zip("ab", store[:2], strict=True):
        Image.fromarray(picture[:50, :61]).save(tmp_path / f"{name}.png")
    lines = photo_table(Upscaler(UpscalerNetwork(channels=4, blocks=0)), tmp_path).splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["a", "b", "mean"]


def test_held_out_drawings_are_measured_set_by_set() -> None:
    lines = drawing_table(Upscaler(UpscalerNetwork(channels=4, blocks=0)), leaves=1, portraits=1).splitlines()
    assert [line[:13].strip() for line in lines[1:]] == ["1 dead leaves", "1 portraits"]


def test_the_sheet_shows_small_bicubic_ours_and_truth() -> None:
    assert sheet(Upscaler(UpscalerNetwork(channels=4, blocks=0)), rows=2, size=32).size == (4 * 32, 2 * 32)


def test_the_whole_command_line_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, run, weights = tmp_path / "store.npy", tmp_path / "run", tmp_path / "x4" / "upscaler.safetensors"
    threads = torch.get_num_threads()
    upscaling.main(["render", f"--store={store}", "--pictures=3", "--portraits=1", "--size=64"])
    tiny = ["--channels=4", "--blocks=1", "--batch=2", "--patch=12"]
    upscaling.main(["train", f"--store={store}", f"--run={run}", "--steps=2", f"--threads={threads}", *tiny])
    upscaling.main(["export", f"--run={run}", f"--to={weights}", "--label=Tiny"])
    assert open_upscaler(weights).label == "Tiny"
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(leaves_picture(3, 40)).save(photos / "photo.png")
    upscaling.main(["measure", f"--upscaler={weights}", f"--pictures={photos}"])
    assert "mean" in capsys.readouterr().out
