"""The training of encoders: what they see, that they learn, that runs go on exactly, and the command."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import ganworks
from ganworks.generator import Generator, save_generator
from ganworks.training import disturbances, encoding_measure
from ganworks.training.data import PictureSet, render_folder
from ganworks.training.domains import portraits
from ganworks.training.encoding import Recipe, Teacher, Training, export, main, rate_at, score, train

from .conftest import small_network
from .test_architectures import ARCHITECTURES, saved

TINY = Recipe(steps=6, batch=4, channels=8, channel_max=16, hidden=16, warmup_steps=1)


def pictures(count: int = 4, side: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8


def random(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("renders")
    render_folder(portraits, path, 24, size=32, seed=5)
    return path


@pytest.fixture
def portraitist(tmp_path: Path) -> Generator:
    """A generator whose latents are as long as those of the portraits."""
    save_generator(small_network(z_dim=portraits.Z_DIM), tmp_path / "p" / "generator.safetensors", label="P")
    return ganworks.open_generator(tmp_path / "p")


# --- What an encoder sees -----------------------------------------------------------------------------------


def test_damage_is_the_same_for_the_same_chance_and_stays_in_range() -> None:
    first, again, other = (disturbances.damage(pictures(16), random(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (16, 3, 32, 32)
    assert first.abs().max() <= 1
    assert bool(first.isfinite().all())


def test_only_what_was_changed_is_said_to_be() -> None:
    before = pictures(32)
    after, changed = disturbances.change(before, random())
    assert 4 < int(changed.sum()) < 28
    same = (after == before).flatten(1).all(dim=1)
    assert torch.equal(same, ~changed)


def test_blur_loses_detail_and_keeps_colour() -> None:
    before = pictures(2, 64)
    after = disturbances.blurred(before, random())
    assert after.std() < before.std()
    assert after.mean().item() == pytest.approx(before.mean().item(), abs=0.01)


def test_compression_leaves_a_flat_picture_nearly_alone_and_rounds_detail() -> None:
    flat = torch.full((2, 3, 32, 32), 0.3)
    torch.testing.assert_close(disturbances.compressed(flat, random()), flat, atol=0.03, rtol=0)
    error = (disturbances.compressed(pictures(2), random()) - pictures(2)).abs().mean(dim=(1, 2, 3))
    assert bool((error > 0.01).all())
    assert bool((error < 0.4).all())


def test_compression_keeps_the_places_of_blocks() -> None:
    picture = torch.zeros(1, 3, 16, 16)
    picture[:, 0, 8:, :8] = 0.9
    after = disturbances.compressed(picture, random())
    assert after[0, 0, 8:, :8].mean() > 0.8
    assert after[0, 0, :8].abs().max() < 0.05


def test_a_picture_whose_side_is_no_multiple_of_a_block_is_not_compressed() -> None:
    odd = pictures(1, 20)
    assert disturbances.compressed(odd, random()) is odd


def test_a_rectangle_of_one_colour_hides_a_part() -> None:
    before = pictures(8)
    hidden = (disturbances.occluded(before, random()) != before).any(dim=1).flatten(1).float().mean(dim=1)
    assert hidden.max() > 0
    assert hidden.max() <= 0.45**2


# --- The teacher --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_any_generator_teaches(tmp_path: Path, architecture: str) -> None:
    generator = saved(tmp_path, architecture)
    training = Training(TINY, Teacher(generator, None))
    parts = [training.advance() for _ in range(2)]
    assert all(torch.isfinite(torch.tensor(list(part.values()))).all() for part in parts)


def test_a_generator_with_classes_teaches(tmp_path: Path) -> None:
    generator = saved(tmp_path, "stylegan2", classes=["One", "Two"])
    batch = Teacher(generator, None).batch(TINY, 0)
    assert batch.seen.shape == batch.wanted.shape == (4, 3, 32, 32)


def test_the_pictures_of_a_batch_are_drawn_from_its_latents(generator: Generator) -> None:
    teacher = Teacher(generator, None)
    batch = teacher.batch(replace(TINY, batch=16), 3)
    assert batch.coordinates.shape == (16, 8, 24)
    drawn = teacher.draw(batch.coordinates).clamp(-1, 1)
    torch.testing.assert_close(drawn[batch.known], batch.wanted[batch.known], atol=1e-4, rtol=0)
    assert not torch.equal(batch.seen, batch.wanted)


def test_samples_hold_shared_and_mixed_rows(generator: Generator) -> None:
    samples = Teacher(generator, None).sample(32, random())
    apart = (samples - samples[:, :1]).abs().amax(dim=(1, 2)) > 1e-4
    assert 8 < int(apart.sum()) < 32


def test_whitened_coordinates_draw_what_the_generator_draws(generator: Generator) -> None:
    teacher = Teacher(generator, None)
    ws = generator.mapping(generator.latents([3]))
    torch.testing.assert_close(
        teacher.draw(teacher.whiten(ws)), generator.synthesis(ws), atol=1e-3, rtol=1e-3
    )


def test_renders_come_with_the_latents_that_the_generator_learned(
    portraitist: Generator, renders: Path
) -> None:
    teacher = Teacher(portraitist, PictureSet(renders, 4))
    seen, coordinates = teacher.rendered(teacher.renders.rows[:3] if teacher.renders else None)
    assert seen.shape == (3, 3, 32, 32)
    assert torch.equal(coordinates, coordinates[:, :1].expand_as(coordinates))
    assert teacher.held_out().shape == (4, 3, 32, 32)


# --- Runs ---------------------------------------------------------------------------------------------------


def test_training_learns(generator: Generator, tmp_path: Path) -> None:
    teacher = Teacher(generator, None)
    recipe = replace(TINY, steps=60, batch=8, channels=16, channel_max=32, hidden=64, warmup_steps=5)
    trained = train(teacher, tmp_path, recipe, log_every=30)
    held_out = teacher.held_out()
    untrained = score(Training(recipe, teacher).network, teacher, held_out)
    assert score(trained.mean_network(), teacher, held_out) > untrained + 0.3
    rows = list(csv.DictReader((tmp_path / "log.csv").open()))
    assert [row["step"] for row in rows] == ["30", "60"]


def test_a_run_that_was_stopped_goes_on_exactly(generator: Generator, tmp_path: Path) -> None:
    teacher = Teacher(generator, None)
    whole = train(teacher, tmp_path / "whole", TINY)
    half = Training(TINY, teacher)
    for _ in range(2):
        half.advance()
    (tmp_path / "halves").mkdir()
    half.save(tmp_path / "halves" / "state.pt")
    resumed = train(teacher, tmp_path / "halves", TINY)
    assert resumed.step == whole.step == 6
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
        assert torch.equal(whole.mean[name], resumed.mean[name]), name


def test_another_recipe_or_generator_does_not_go_on_with_a_run(
    generator: Generator, portraitist: Generator, tmp_path: Path
) -> None:
    train(Teacher(generator, None), tmp_path / "run", TINY, minutes=0)
    with pytest.raises(SystemExit, match="another recipe"):
        train(Teacher(generator, None), tmp_path / "run", replace(TINY, seed=1))
    with pytest.raises(SystemExit, match="another generator"):
        train(Teacher(portraitist, None), tmp_path / "run", TINY)


def test_the_learning_rate_rises_and_falls() -> None:
    recipe = Recipe(steps=100, warmup_steps=10)
    assert rate_at(0, recipe) == pytest.approx(0.1)
    assert rate_at(50, recipe) == pytest.approx(0.5)
    assert rate_at(99, recipe) < 0.001


def test_what_is_written_belongs_to_the_generator(generator: Generator, tmp_path: Path) -> None:
    training = Training(TINY, Teacher(generator, None))
    encoder = export(training, tmp_path / "encoder.safetensors")
    encoder.check_generator(generator.sha256)
    header = ganworks.checkpoint.read_header(tmp_path / "encoder.safetensors", "encoder")
    assert (header.text("label"), header.text("license")) == ("Small", "CC0-1.0")
    assert header.meta["training"]["step"] == 0


# --- The command --------------------------------------------------------------------------------------------

SMALL = ["--steps=2", "--batch=4", "--channels=8", "--channel-max=16", "--hidden=16", "--device=cpu"]


def test_the_command_trains_beside_the_generator_and_goes_on(
    portraitist: Generator, renders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = portraitist.info.path.parent
    options = [f"--generator={folder}", f"--run={tmp_path / 'run'}", f"--renders={renders}", "--held-out=4"]
    assert main([*options, *SMALL, "--threads=1", "--minutes=0"]) == 0
    assert "Call again to go on" in capsys.readouterr().out
    assert not (folder / "encoder.safetensors").exists()
    assert main([*options, *SMALL, "--log-every=1"]) == 0
    assert "Wrote" in capsys.readouterr().out
    library = ganworks.Library([folder.parent], device="cpu")
    encoder = library.encoder("p")
    assert encoder is not None
    assert encoder(torch.zeros(1, 3, 32, 32)).shape == (1, 8, 24)


def test_the_command_says_what_cannot_be(
    generator: Generator, renders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = f"--run={tmp_path / 'run'}"
    assert main(["--generator=nothing", run, *SMALL]) == 1
    assert "no generator" in capsys.readouterr().err
    options = [f"--generator={generator.info.path}", run, f"--renders={renders}", "--held-out=4"]
    assert main([*options, *SMALL]) == 1
    assert "another kind of generator" in capsys.readouterr().err


def test_what_an_encoder_is_worth_is_measured_with_and_without_it(
    portraitist: Generator, renders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = portraitist.info.path.parent
    assert encoding_measure.main([f"--generator={folder}", "--steps=2"]) == 1
    assert "Train one" in capsys.readouterr().err
    export(Training(TINY, Teacher(portraitist, None)), folder / "encoder.safetensors")
    options = [f"--renders={renders}", "--held-out=4", "--pictures=2", "--steps", "0", "2"]
    assert encoding_measure.main([f"--generator={folder}", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    starts = [line.split("|")[1:4] for line in lines if line.startswith(("| renders", "| samples"))]
    cells = [tuple(cell.strip() for cell in start) for start in starts]
    one = [("encoder", "0"), ("mean", "2"), ("encoder", "2")]
    assert cells == [(kind, *rest) for kind in ("renders", "samples") for rest in one]
    assert "ms." in lines[-1]


def test_a_run_can_begin_with_another_generators_encoder(generator: Generator, tmp_path: Path) -> None:
    teacher = Teacher(generator, None)
    first = train(teacher, tmp_path / "first", TINY)
    encoder = export(first, tmp_path / "encoder.safetensors")
    second = Training(replace(TINY, seed=5), teacher)
    fresh = {name: value.clone() for name, value in second.network.state_dict().items()}
    second.start_from(encoder)
    begun, theirs = second.network.state_dict(), encoder.network.state_dict()
    changed = [name for name in fresh if not torch.equal(fresh[name], begun[name])]
    assert changed
    assert all(torch.equal(begun[name], theirs[name]) for name in changed)
    assert torch.equal(begun["axes"], fresh["axes"])
