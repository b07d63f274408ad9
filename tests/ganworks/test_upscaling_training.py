"""Training the upscaler: drawings from seeds, batches from steps, a run that goes on exactly, measures."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ganworks.errors import InvalidInput
from ganworks.networks.judge import UpscalerJudge
from ganworks.networks.upscaler import UpscalerNetwork
from ganworks.superresolution import Upscaler, open_network, open_upscaler
from ganworks.training import upscaling, upscaling_run
from ganworks.training.upscaling_damage import damaged, shrink
from ganworks.training.upscaling_data import portrait_pictures, training_batch
from ganworks.training.upscaling_judging import Judge
from ganworks.training.upscaling_leaves import Pixels, leaves_picture
from ganworks.training.upscaling_measure import (
    detail_distances,
    drawing_table,
    enlarge,
    photo_table,
    scores,
    sheet,
)
from ganworks.training.upscaling_run import Recipe, Training, schedule, train, weights_for
from ganworks.training.upscaling_textures import texture_picture

TINY = Recipe(channels=4, blocks=1, batch=2, patch=12, warmup_steps=2, precision="fp32")
CRISP = replace(TINY, damage=0.5, crispness=1.0, judge_channels=4)


@pytest.fixture(scope="module")
def store() -> Pixels:
    return np.stack([leaves_picture(seed, 64) for seed in range(4)])


@pytest.fixture
def few_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upscaling_run, "held_out_pictures", lambda count, size: [leaves_picture(99, 32)])


def test_a_drawing_is_a_function_of_its_seed() -> None:
    assert (leaves_picture(5, 48) == leaves_picture(5, 48)).all()
    assert (leaves_picture(5, 48) != leaves_picture(6, 48)).any()


def test_a_texture_is_a_function_of_its_seed_and_finer_than_leaves() -> None:
    pictures = np.stack([texture_picture(seed, 48) for seed in range(8)])
    assert pictures.dtype == np.uint8
    assert pictures.shape == (8, 48, 48, 3)
    assert (texture_picture(3, 48) == pictures[3]).all()
    leaves = np.stack([leaves_picture(seed, 48) for seed in range(8)])

    def fineness(drawn: Pixels) -> float:
        return float(np.median(np.abs(np.diff(drawn.astype(int), axis=2)).mean(axis=(1, 2, 3))))

    assert fineness(pictures) > fineness(leaves)


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


def test_damage_is_a_function_of_the_generator_and_makes_pictures_worse(store: Pixels) -> None:
    large = torch.from_numpy(store[0]).permute(2, 0, 1).float()
    clean = shrink(large[None], 4)[0]
    found = [damaged(large, 4, np.random.default_rng(seed)) for seed in range(20)]
    assert torch.equal(found[7], damaged(large, 4, np.random.default_rng(7)))
    for small in found:
        assert small.shape == clean.shape
        assert torch.equal(small, small.round().clamp(0, 255))
    errors = [float((small - clean).abs().mean()) for small in found]
    assert sum(error > 0 for error in errors) > 12
    assert 1 < np.mean(errors) < 30  # levels: worse, and still the same picture


def test_as_many_patches_are_damaged_as_the_recipe_says(store: Pixels) -> None:
    def small(damage: float) -> torch.Tensor:
        return training_batch(store, seed=0, step=0, batch=64, patch=8, scale=4, damage=damage)[0]

    def large(damage: float) -> torch.Tensor:
        return training_batch(store, seed=0, step=0, batch=64, patch=8, scale=4, damage=damage)[1]

    assert torch.equal(large(0), large(0.9))
    clean = shrink((large(0) + 1) * 127.5, 4) / 127.5 - 1

    def untouched(damage: float) -> int:
        return int(((small(damage) - clean).abs().amax(dim=(1, 2, 3)) < 1e-5).sum())

    assert untouched(0) > 40
    assert untouched(0.9) < 20


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


@pytest.mark.usefixtures("few_held_out")
def test_a_crisp_run_that_was_stopped_goes_on_exactly(store: Pixels, tmp_path: Path) -> None:
    whole = train(store, tmp_path / "whole", CRISP, steps=6)
    train(store, tmp_path / "halves", CRISP, steps=6, log_every=3, minutes=0)
    half = Training.load(tmp_path / "halves" / "state.pt")
    for _ in range(3):
        half.advance(store, 6)
    half.save(tmp_path / "halves" / "state.pt")
    resumed = train(store, tmp_path / "halves", CRISP, steps=6)
    assert resumed.judge is not None
    assert whole.judge is not None
    for ours, theirs in ((resumed.network, whole.network), (resumed.judge.network, whole.judge.network)):
        for name, value in theirs.state_dict().items():
            assert torch.equal(value, ours.state_dict()[name]), name
    row = next(csv.DictReader((tmp_path / "whole" / "log.csv").open()))
    wanted = {"judging", "fooling", "psnr_held_out_db", "ssim_held_out", "sharpness_held_out"}
    assert wanted <= row.keys()


def test_a_judge_learns_to_tell_a_blurred_picture_and_wishes_it_sharper(store: Pixels) -> None:
    torch.manual_seed(0)
    judge = Judge(channels=8, learning_rate=2e-3, likeness=0.0)
    truth = torch.from_numpy(store).permute(0, 3, 1, 2).float() / 127.5 - 1
    blurred = torch.nn.functional.avg_pool2d(truth, 5, stride=1, padding=2, count_include_pad=False)
    verdicts = [judge.judge(blurred, truth) for _ in range(60)]
    assert verdicts[-1].judging < 0.5 < verdicts[0].judging
    better = blurred - 20 * verdicts[-1].wish  # against the gradient
    with torch.no_grad():
        assert float(judge.network(better)[0].mean()) > float(judge.network(blurred)[0].mean())


def test_a_judge_sees_every_pixel() -> None:
    score, maps = UpscalerJudge(4)(torch.rand(2, 3, 16, 24))
    assert score.shape == (2, 1, 16, 24)
    assert [tuple(m.shape[2:]) for m in maps] == [(8, 12), (4, 6), (2, 3), (4, 6), (8, 12)]


def test_a_judge_refuses_patches_that_are_too_small_for_it() -> None:
    with pytest.raises(SystemExit, match="at least 15 pixels"):
        replace(CRISP, patch=3)


def test_a_judge_looks_at_both_pictures_from_the_same_place_and_at_nothing_before_it() -> None:
    torch.manual_seed(0)
    judge = Judge(channels=4, learning_rate=0.1, likeness=1.0)
    truth = torch.rand(1, 3, 32, 32)
    wish = judge.judge(truth.flip(3), truth, (5, 3)).wish
    assert float(wish[:, :, :5].abs().max()) == float(wish[:, :, :, :3].abs().max()) == 0
    assert float(wish[:, :, 5:29, 3:27].abs().amax(dim=(0, 1)).min()) > 0


def test_an_upscaler_of_twice_begins_as_the_mean_of_one_of_four_times() -> None:
    torch.manual_seed(0)
    four = UpscalerNetwork(channels=4, blocks=1)
    torch.nn.init.normal_(four.tail.weight, std=0.05)
    torch.nn.init.normal_(four.tail.bias, std=0.05)
    two = UpscalerNetwork(channels=4, blocks=1, scale=2)
    two.load_state_dict(weights_for(four, replace(TINY, scale=2)))
    small = torch.zeros(1, 3, 6, 6) + 0.3  # bicubic enlargement leaves it alone
    expected = torch.nn.functional.avg_pool2d(four(small), 2)
    torch.testing.assert_close(two(small), expected)
    for recipe in (replace(TINY, scale=3), replace(TINY, blocks=2)):
        with pytest.raises(SystemExit):
            weights_for(four, recipe)


def test_psnr_is_that_of_the_definition() -> None:
    black = np.zeros((16, 16, 3), np.uint8)
    white = np.full((16, 16, 3), 255, np.uint8)
    expected = 20 * np.log10(255 / 219)  # luma goes from 16 to 235
    assert scores(black, white).psnr == pytest.approx(expected, abs=1e-3)
    assert scores(black, black).psnr > 100


def test_a_blurred_picture_is_less_sharp_and_less_like_the_truth(store: Pixels) -> None:
    picture = Image.fromarray(store[0])
    blurred = np.asarray(picture.resize((16, 16)).resize((64, 64)))
    noisy = np.clip(store[0] + np.random.default_rng(0).normal(0, 30, store[0].shape), 0, 255)
    assert scores(store[0], store[0]).sharpness == pytest.approx(1)
    assert scores(store[0], store[0]).ssim == pytest.approx(1)
    assert scores(blurred, store[0]).sharpness < 0.6
    assert scores(noisy.astype(np.uint8), store[0]).sharpness > 1.2
    assert scores(blurred, store[0]).ssim < 0.9


def test_detail_like_the_true_one_is_nearer_than_none() -> None:
    upscaler = Upscaler(UpscalerNetwork(channels=4, blocks=0))
    results = [enlarge(upscaler, texture_picture(seed, 64)) for seed in range(4)]
    bicubic, ours, truth = detail_distances(results)
    assert ours == pytest.approx(bicubic, rel=0.3)  # an untrained network is bicubic enlargement
    assert truth < 0.8 * ours
    assert detail_distances([replace(result, found=result.truth) for result in results])[1] == truth


def test_an_untrained_network_measures_like_bicubic(store: Pixels) -> None:
    result = enlarge(Upscaler(UpscalerNetwork(channels=4, blocks=0)), store[0])
    assert result.small.shape == (16, 16, 3)
    assert result.scores.psnr == pytest.approx(result.scores_bicubic.psnr, abs=0.5)


def test_a_folder_of_photos_is_measured_photo_by_photo(store: Pixels, tmp_path: Path) -> None:
    for name, picture in zip("ab", store[:2], strict=True):
        Image.fromarray(picture[:50, :61]).save(tmp_path / f"{name}.png")
    lines = photo_table(Upscaler(UpscalerNetwork(channels=4, blocks=0)), tmp_path).splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["a", "b", "mean"]


def test_held_out_drawings_are_measured_set_by_set() -> None:
    upscaler = Upscaler(UpscalerNetwork(channels=4, blocks=0))
    lines = drawing_table(upscaler, leaves=1, textures=1, portraits=1).splitlines()
    sets = ["1 dead leaves", "the same, damaged", "1 textures", "1 portraits"]
    assert [line[:20].strip() for line in lines[2:]] == [*sets, "", "distance of detail", *sets]


def test_the_sheet_shows_small_bicubic_ours_and_truth() -> None:
    assert sheet(Upscaler(UpscalerNetwork(channels=4, blocks=0)), rows=2, size=32).size == (4 * 32, 2 * 32)


@pytest.mark.usefixtures("few_held_out")
def test_the_whole_command_line_works(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, run, weights = tmp_path / "store.npy", tmp_path / "run", tmp_path / "x4" / "upscaler.safetensors"
    threads = torch.get_num_threads()
    upscaling.main(
        ["render", f"--store={store}", "--pictures=2", "--portraits=1", "--textures=1", "--size=64"]
    )
    assert np.load(store).shape == (4, 64, 64, 3)
    tiny = ["--channels=4", "--blocks=1", "--batch=2", "--patch=12", "--steps=2", f"--threads={threads}"]
    upscaling.main(["train", f"--store={store}", f"--run={run}", *tiny])
    upscaling.main(["export", f"--run={run}", f"--to={weights}", "--label=Tiny", "--license=Ours"])
    assert open_upscaler(weights).label == "Tiny"

    crisp, crisp_run = tmp_path / "crisp-x2" / "upscaler.safetensors", tmp_path / "crisp"
    more = ["--recipe=crisp", "--scale=2", f"--start-from={weights}", "--judge-channels=4"]
    upscaling.main(["train", f"--store={store}", f"--run={crisp_run}", *tiny, *more])
    upscaling.main(["export", f"--run={crisp_run}", f"--to={crisp}"])
    made = open_upscaler(crisp)
    assert (made.label, made.scale, made.license) == ("Crisp x2", 2, "Ours")

    blended = tmp_path / "blended" / "upscaler.safetensors"
    upscaling.main(["export", f"--run={crisp_run}", f"--to={blended}", f"--blend={crisp}", "--share=1"])
    same = zip(*(open_network(path)[0].parameters() for path in (crisp, blended)), strict=True)
    assert all(torch.equal(a, b) for a, b in same)
    with pytest.raises(SystemExit, match="same scale and size"):
        upscaling.main(["export", f"--run={crisp_run}", f"--to={blended}", f"--blend={weights}"])

    photos = tmp_path / "photos"
    photos.mkdir()
    Image.fromarray(leaves_picture(3, 40)).save(photos / "photo.png")
    upscaling.main(["measure", f"--upscaler={weights}", f"--pictures={photos}"])
    assert "mean" in capsys.readouterr().out


def test_a_blend_lies_between_two_upscalers() -> None:
    one, other = UpscalerNetwork(channels=4, blocks=1), UpscalerNetwork(channels=4, blocks=1)
    expected = [0.25 * a + 0.75 * b for a, b in zip(one.parameters(), other.parameters(), strict=True)]
    with torch.no_grad():
        upscaling.mix(one, other, 0.75)
    for found, wanted in zip(one.parameters(), expected, strict=True):
        torch.testing.assert_close(found, wanted)
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        upscaling.mix(one, other, 1.5)


def test_a_run_cannot_begin_with_what_is_not_there(store: Pixels, tmp_path: Path) -> None:
    np.save(tmp_path / "store.npy", store)
    with pytest.raises(SystemExit, match="no upscaler"):
        upscaling.main(
            [
                "train",
                f"--store={tmp_path / 'store.npy'}",
                f"--run={tmp_path / 'run'}",
                "--start-from=nothing",
            ]
        )
