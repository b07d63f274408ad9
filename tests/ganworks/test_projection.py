"""Projection: a picture that the generator drew is found again."""

import io
from pathlib import Path
from typing import Any

import pytest
import torch

import ganworks
from ganworks import checkpoint
from ganworks.generator import Generator, save_generator
from ganworks.networks import stylegan2
from ganworks.perceptual import open_critic
from ganworks.projection import Projection, ProjectionStep, noise_structure, project, renormalize

from .conftest import small_network


def silence(network: stylegan2.Generator, blocks: int | None = None) -> None:
    """Let the first blocks (or all) use no noise."""
    for block in network.synthesis.blocks()[:blocks]:
        for _, layer in block.layers():
            layer.noise_strength.data.zero_()


@pytest.fixture
def target(generator: Generator) -> torch.Tensor:
    return generator.synthesis(generator.mapping(generator.latents([5]), truncation_psi=0.7)).clamp(-1, 1)


@pytest.mark.parametrize("space", ["w", "w+"])
def test_a_drawn_picture_is_found_again(generator: Generator, target: torch.Tensor, space: str) -> None:
    start = project(generator, target, steps=1, space=space)
    found = project(generator, target, steps=60, space=space)
    assert found.ws.shape == (1, 8, 24)
    assert found.psnr > start.psnr + 3
    assert found.loss < 0.7 * start.loss
    assert found.generator_sha256 == generator.sha256


def test_what_is_returned_is_what_was_measured(generator: Generator, target: torch.Tensor) -> None:
    found = project(generator, target, steps=20)
    picture = generator.synthesis(found.ws, noise=found.noise)
    error = (picture.clamp(-1, 1) - target).square().mean()
    assert found.psnr == pytest.approx(float(10 * torch.log10(4 / error)), abs=0.01)


def test_space_w_has_one_w_for_all_rows_and_w_plus_has_one_for_each(
    generator: Generator, target: torch.Tensor
) -> None:
    w = project(generator, target, steps=20, space="w").ws
    assert torch.allclose(w, w[:, :1].expand_as(w))
    rows = project(generator, target, steps=20, space="w+").ws
    assert not torch.allclose(rows, rows[:, :1].expand_as(rows))


def test_the_same_arguments_give_the_same_result(generator: Generator, target: torch.Tensor) -> None:
    first, second = (project(generator, target, steps=8, seed=3) for _ in range(2))
    assert torch.equal(first.ws, second.ws)


def test_each_step_is_told_with_a_loss_that_never_rises(generator: Generator, target: torch.Tensor) -> None:
    told: list[ProjectionStep] = []
    project(generator, target, steps=15, on_step=told.append, preview_every_seconds=1e-9)
    assert [step.step for step in told] == list(range(1, 16))
    assert {step.steps for step in told} == {15}
    losses = [step.loss for step in told]
    assert losses == sorted(losses, reverse=True)
    assert all(step.preview is not None and step.preview.shape == (1, 3, 32, 32) for step in told)


def test_previews_come_at_the_first_and_the_last_step_and_now_and_then(
    generator: Generator, target: torch.Tensor
) -> None:
    told: list[ProjectionStep] = []
    project(generator, target, steps=6, on_step=told.append, preview_every_seconds=3600)
    assert [step.preview is not None for step in told] == [True, False, False, False, False, True]


def test_a_stop_gives_back_what_was_found_so_far(generator: Generator, target: torch.Tensor) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 4

    found = project(generator, target, steps=50, should_stop=stop)
    assert (found.steps, found.stopped_early) == (4, True)
    assert project(generator, target, steps=50, should_stop=lambda: True).ws.shape == (1, 8, 24)


def test_a_search_that_gains_nothing_ends_by_itself(generator: Generator, target: torch.Tensor) -> None:
    tuning = ganworks.projection.Tuning(learning_rate=0.0, noise_learning_rate=0.0, w_noise=0.0)
    found = project(generator, target, steps=100, tuning=tuning)
    assert found.steps < 100
    assert not found.stopped_early


def test_several_starts_are_at_least_tried(generator: Generator, target: torch.Tensor) -> None:
    found = project(generator, target, steps=20, starts=3)
    assert found.ws.shape == (1, 8, 24)
    assert all(value.ndim == 2 for value in found.noise.values())


def test_a_critic_takes_part(generator: Generator, target: torch.Tensor) -> None:
    critic = open_critic(generator.info.path.with_name("critic.safetensors"))
    assert project(generator, target, steps=3, critic=critic).loss != project(generator, target, steps=3).loss


def test_noise_maps_stay_normal(generator: Generator, target: torch.Tensor) -> None:
    found = project(generator, target, steps=20)
    assert found.noise.keys() == generator.network.synthesis.noise_buffers().keys()
    for value in found.noise.values():
        assert value.mean().item() == pytest.approx(0, abs=0.35)
        assert value.square().mean().item() == pytest.approx(1, abs=0.6)


def test_maps_that_the_generator_does_not_use_are_not_kept(tmp_path: Path) -> None:
    network = small_network()
    silence(network, blocks=1)
    save_generator(network, tmp_path / "g.safetensors", label="G")
    generator = ganworks.open_generator(tmp_path / "g.safetensors")
    found = project(generator, torch.zeros(1, 3, 32, 32), steps=2)
    assert "b4.conv1.noise_const" not in found.noise


def test_a_generator_without_noise_can_be_projected_into(tmp_path: Path) -> None:
    network = small_network()
    silence(network)
    save_generator(network, tmp_path / "g.safetensors", label="G")
    found = project(ganworks.open_generator(tmp_path / "g.safetensors"), torch.zeros(1, 3, 32, 32), steps=3)
    assert found.noise == {}


def test_smooth_noise_is_told_from_white_noise_and_renormalised() -> None:
    white = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(white, 5, 1, 2) * 4
    assert noise_structure([white]) < 0.1 * noise_structure([smooth])
    renormalize([smooth])
    assert smooth.mean().item() == pytest.approx(0, abs=1e-5)
    assert smooth.square().mean().item() == pytest.approx(1, abs=1e-4)


def test_a_projection_is_saved_and_loaded(generator: Generator, target: torch.Tensor, tmp_path: Path) -> None:
    found = project(generator, target, steps=3)
    file = io.BytesIO()
    found.save(file)
    found.save(tmp_path / "p.safetensors")
    assert (tmp_path / "p.safetensors").read_bytes() == file.getvalue()
    again = Projection.load(file)
    assert torch.equal(again.ws, found.ws)
    assert again.noise.keys() == found.noise.keys()
    assert (again.loss, again.psnr, again.steps, again.space) == (found.loss, found.psnr, 3, "w+")
    picture = generator.synthesis(again.ws, noise=again.noise)
    torch.testing.assert_close(picture, generator.synthesis(found.ws, noise=found.noise))


@pytest.mark.parametrize("key", ["extra", "noise"])
def test_a_projection_with_other_tensors_is_refused(key: str) -> None:
    file = io.BytesIO()
    meta = {"space": "w+", "loss": 1.0, "psnr": 1.0, "steps": 1}
    checkpoint.write(file, "projection", meta, {"ws": torch.zeros(1, 8, 24), key: torch.zeros(1)})
    with pytest.raises(ganworks.CheckpointError):
        Projection.load(file)


def test_a_projection_of_an_unknown_space_is_refused() -> None:
    file = io.BytesIO()
    checkpoint.write(file, "projection", {"space": "z"}, {"ws": torch.zeros(1, 8, 24)})
    with pytest.raises(ganworks.CheckpointError, match="space"):
        Projection.load(file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 10_001}, "steps"),
        ({"space": "z"}, "space"),
        ({"starts": 0}, "starts"),
        ({"preview_every_seconds": 0}, "previews"),
    ],
)
def test_impossible_wishes_are_refused(
    generator: Generator, target: torch.Tensor, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ganworks.InvalidInput, match=message):
        project(generator, target, **changes)


def test_a_picture_of_another_size_or_with_broken_numbers_is_refused(generator: Generator) -> None:
    with pytest.raises(ganworks.InvalidInput, match=r"\[1, 3, 32, 32\]"):
        project(generator, torch.zeros(1, 3, 16, 16))
    with pytest.raises(ganworks.InvalidInput, match="finite"):
        project(generator, torch.full((1, 3, 32, 32), float("nan")))


def test_an_error_in_a_callback_comes_through(generator: Generator, target: torch.Tensor) -> None:
    def fail(step: ProjectionStep) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        project(generator, target, steps=5, on_step=fail)


def test_the_generator_is_left_as_it_was(generator: Generator, target: torch.Tensor) -> None:
    before = {key: value.clone() for key, value in generator.network.state_dict().items()}
    project(generator, target, steps=5)
    after = generator.network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
