"""Tuning: a generator draws one picture faithfully, others as before, and the difference is small."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import ganworks
from ganworks import checkpoint, difference
from ganworks.difference import Difference
from ganworks.generator import Generator, open_generator, save_generator
from ganworks.networks import stylegan2, stylegan3
from ganworks.perceptual import psnr
from ganworks.projection import Projection, ProjectionStep, project
from ganworks.tuning import Knobs, Tuned, tune

from .conftest import small_network
from .test_architectures import network_of

NETWORKS = ("skip", "orig", "resnet", "stylegan3", "alis")
LOW_RANK = Knobs(max_rank=2)


def saved(folder: Path, name: str) -> Generator:
    network = network_of(name) if name in ("stylegan3", "alis") else small_network(architecture=name)
    save_generator(network, folder / name / "generator.safetensors", label=name)
    return open_generator(folder / name)


def pivot_of(generator: Generator) -> Projection:
    """What the generator draws of a seed, as if that had been found."""
    ws = generator.mapping(generator.latents([5]), truncation_psi=0.7)
    return Projection(ws, {}, loss=1.0, psnr=10.0, steps=1, space="w+", generator_sha256=generator.sha256)


def other_picture(generator: Generator) -> torch.Tensor:
    """A picture that is not what the pivot draws."""
    side = generator.resolution
    ramp = torch.linspace(-0.8, 0.8, side)
    return torch.stack([ramp.expand(side, side), ramp.expand(side, side).t(), -ramp.expand(side, side)])[None]


def random_difference(generator: Generator, max_rank: int = 2, size: float = 0.05) -> Difference:
    random = torch.Generator().manual_seed(3)
    tensors = difference.blank(generator.network, random, max_rank)
    changed = {key: size * torch.randn(value.shape, generator=random) for key, value in tensors.items()}
    return Difference(difference.rounded(changed), generator.sha256)


@pytest.fixture
def target(generator: Generator) -> torch.Tensor:
    return other_picture(generator)


@pytest.fixture
def pivot(generator: Generator, target: torch.Tensor) -> Projection:
    return project(generator, target, steps=20)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_tuned_generator_comes_nearer_to_the_picture(tmp_path: Path, name: str) -> None:
    generator = saved(tmp_path, name)
    pivot = pivot_of(generator)
    target = generator.tuned(random_difference(generator, size=0.3)).synthesis(pivot.ws)
    tuned = tune(generator, target, pivot, steps=30, knobs=Knobs(learning_rate=0.02, locality=0.0))
    assert tuned.psnr > tuned.psnr_before + 2
    picture = generator.tuned(tuned.difference).synthesis(pivot.ws)
    assert float(psnr(picture, target)[0]) == pytest.approx(tuned.psnr, abs=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_drawn_quickly_is_what_was_trained(tmp_path: Path, name: str) -> None:
    generator = saved(tmp_path, name)
    found = random_difference(generator)
    tuned = generator.tuned(found)
    plain = difference.unfrozen(generator.network)
    with torch.no_grad():
        for key, change in difference.changes(found.tensors):
            path, _, own = key.rpartition(".")
            module = plain.get_submodule(path)
            weights = difference.changed(getattr(module, own), change)
            setattr(module, own, torch.nn.Parameter(weights))
        ws = generator.mapping(generator.latents([1, 2]))
        expected = plain.draw(ws)
    torch.testing.assert_close(tuned.synthesis(ws), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(tuned.synthesis(ws), generator.synthesis(ws), atol=1e-2)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_generator_is_left_as_it_was(tmp_path: Path, name: str) -> None:
    generator = saved(tmp_path, name)
    pivot = pivot_of(generator)
    before = {key: value.clone() for key, value in generator.network.state_dict().items()}
    picture = generator.synthesis(pivot.ws)
    tuned = tune(generator, other_picture(generator), pivot, steps=3)
    generator.tuned(tuned.difference).synthesis(pivot.ws)
    assert all(torch.equal(before[key], value) for key, value in generator.network.state_dict().items())
    assert torch.equal(generator.synthesis(pivot.ws), picture)
    assert not any(value.requires_grad for value in generator.network.parameters())


def test_gradients_still_reach_latents_through_a_tuned_generator(generator: Generator) -> None:
    tuned = generator.tuned(random_difference(generator))
    ws = tuned.mapping(tuned.latents([1])).clone().requires_grad_()
    tuned.network.draw(ws).square().mean().backward()
    assert bool((ws.grad.abs().sum(dim=2) > 0).all())
    assert project(tuned, torch.zeros(1, 3, 32, 32), steps=2).generator_sha256 == generator.sha256


def test_weights_that_are_not_changed_lie_in_the_same_memory(generator: Generator) -> None:
    network = generator.network
    key = "synthesis.b8.conv1.bias"
    tuned = generator.tuned(Difference({f"{key}.whole": torch.ones(16)}, generator.sha256)).network
    for name, value in network.named_parameters():
        shared = tuned.get_parameter(name).data_ptr() == value.data_ptr()
        assert shared == (name != key)
    assert tuned.synthesis.b8.conv1.frozen_energy is network.synthesis.b8.conv1.frozen_energy
    torch.testing.assert_close(tuned.get_parameter(key), network.get_parameter(key) + 1)


def test_a_tuned_landscape_scrolls_without_a_seam(tmp_path: Path) -> None:
    generator = saved(tmp_path, "alis")
    tuned = generator.tuned(random_difference(generator))
    anchors = tuned.mapping(tuned.latents([1, 2]))
    whole = tuned.panorama(anchors, 64)
    parts = [tuned.panorama(anchors, 32, left) for left in (0, 32)]
    torch.testing.assert_close(torch.cat(parts, dim=3), whole, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(whole, generator.panorama(anchors, 64), atol=1e-2)


def test_locality_keeps_the_pictures_of_other_latents(
    generator: Generator, target: torch.Tensor, pivot: Projection
) -> None:
    ws = generator.mapping(generator.latents(range(8)))

    def kept(locality: float) -> float:
        knobs = Knobs(learning_rate=0.01, locality=locality)
        tuned = generator.tuned(tune(generator, target, pivot, steps=40, knobs=knobs).difference)
        return float(psnr(tuned.synthesis(ws), generator.synthesis(ws).clamp(-1, 1)).mean())

    assert kept(3.0) > kept(0.0) + 2


def test_edits_act_on_a_tuned_picture_as_before(
    generator: Generator, folder: Path, target: torch.Tensor, pivot: Projection
) -> None:
    tuned = generator.tuned(tune(generator, target, pivot, steps=40).difference)
    basis = ganworks.open_basis(folder / "small" / "components.safetensors")
    edited = ganworks.apply_edits(pivot.ws, [ganworks.Edit(basis, 0, strength=2.0)])

    def change(drawing: Generator) -> torch.Tensor:
        return (drawing.synthesis(edited) - drawing.synthesis(pivot.ws)).flatten()

    assert float(torch.corrcoef(torch.stack([change(generator), change(tuned)]))[0, 1]) > 0.8


def test_the_noise_of_the_projection_is_kept(
    generator: Generator, target: torch.Tensor, pivot: Projection
) -> None:
    tuned = tune(generator, target, pivot, steps=5)
    picture = generator.tuned(tuned.difference).synthesis(pivot.ws, noise=pivot.noise)
    assert float(psnr(picture, target)[0]) == pytest.approx(tuned.psnr, abs=1e-3)


def test_classes_are_sampled_for_locality(tmp_path: Path) -> None:
    save_generator(network_of("stylegan2", c_dim=3), tmp_path / "g.safetensors")
    generator = open_generator(tmp_path / "g.safetensors")
    ws = generator.mapping(generator.latents([1]), generator.one_hot(1))
    pivot = Projection(ws, {}, 1.0, 10.0, 1, "w+", generator.sha256)
    assert tune(generator, other_picture(generator), pivot, steps=2).steps == 2


def test_the_same_arguments_give_the_same_result(
    generator: Generator, target: torch.Tensor, pivot: Projection
) -> None:
    first, second = (tune(generator, target, pivot, steps=4, seed=3) for _ in range(2))
    assert all(
        torch.equal(first.difference.tensors[key], value) for key, value in second.difference.tensors.items()
    )


def test_each_step_is_told_and_pictures_come_now_and_then(
    generator: Generator, target: torch.Tensor, pivot: Projection
) -> None:
    told: list[ProjectionStep] = []
    tune(generator, target, pivot, steps=5, on_step=told.append, preview_every_seconds=3600)
    assert [(step.step, step.steps) for step in told] == [(number, 5) for number in range(1, 6)]
    assert [step.preview is not None for step in told] == [True, False, False, False, True]
    assert told[0].preview.shape == (1, 3, 32, 32)


def test_a_stop_gives_back_what_was_tuned_so_far(
    generator: Generator, target: torch.Tensor, pivot: Projection
) -> None:
    tuned = tune(generator, target, pivot, steps=50, should_stop=lambda: True)
    assert (tuned.steps, tuned.stopped_early) == (1, True)
    assert generator.tuned(tuned.difference).synthesis(pivot.ws).shape == (1, 3, 32, 32)


# --- Sizes and files ----------------------------------------------------------------------------------------


def published(name: str) -> torch.nn.Module:
    """A network of a public size, without memory."""
    with torch.device("meta"):
        if name == "stylegan3-r":
            plan = stylegan3.standard_description(1024, radial=True)
            return stylegan3.Generator(512, 512, plan)
        return stylegan2.Generator(512, 512, 1024, num_layers=8)


@pytest.mark.parametrize("name", ["stylegan2", "stylegan3-r"])
def test_the_difference_of_the_largest_public_networks_fits_two_megabytes(name: str) -> None:
    network = published(name)
    tensors = {
        key: torch.zeros(value.shape) for key, value in difference.blank(network, torch.Generator()).items()
    }
    file = io.BytesIO()
    Difference(tensors, "ab" * 32).save(file, {"psnr": 30.0})
    assert file.tell() <= difference.MAX_BYTES
    touched = {key.rpartition(".")[0] for key in tensors}
    assert touched == {key for key, _ in network.named_parameters() if key.startswith("synthesis.")}


def test_what_finds_no_room_is_not_tuned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(difference, "MAX_NUMBERS", 500)
    tensors = difference.blank(small_network(), torch.Generator())
    assert tensors
    assert sum(value.numel() for value in tensors.values()) <= 500


def test_a_tuning_is_saved_and_loaded(
    generator: Generator, target: torch.Tensor, pivot: Projection, tmp_path: Path
) -> None:
    tuned = tune(generator, target, pivot, steps=3, knobs=LOW_RANK)
    tuned.save(tmp_path / "t.safetensors")
    again = Tuned.load(tmp_path / "t.safetensors")
    assert again.difference.generator_sha256 == generator.sha256
    facts = (tuned.psnr, tuned.psnr_before, tuned.loss, 3, False)
    assert (again.psnr, again.psnr_before, again.loss, again.steps, again.stopped_early) == facts
    pictures = [generator.tuned(one.difference).synthesis(pivot.ws) for one in (tuned, again)]
    assert torch.equal(*pictures)


def test_a_projection_carries_its_tuning(
    generator: Generator, target: torch.Tensor, pivot: Projection
) -> None:
    tuned = tune(generator, target, pivot, steps=3, knobs=LOW_RANK)
    file = io.BytesIO()
    replace(pivot, difference=tuned.difference).save(file)
    again = Projection.load(file)
    assert again.noise.keys() == pivot.noise.keys()
    assert again.difference.generator_sha256 == generator.sha256
    for key, value in tuned.difference.tensors.items():
        assert torch.equal(again.difference.tensors[key], value)


def test_a_projection_with_half_a_tuning_is_refused(pivot: Projection) -> None:
    file = io.BytesIO()
    half = Difference({"synthesis.b8.conv1.weight.left": torch.zeros(16, 1)}, pivot.generator_sha256)
    replace(pivot, difference=half).save(file)
    with pytest.raises(ganworks.CheckpointError, match="no change of a parameter"):
        Projection.load(file)


def test_a_tuning_of_another_generator_is_refused(
    generator: Generator, target: torch.Tensor, pivot: Projection
) -> None:
    with pytest.raises(ganworks.BasisMismatch, match="another generator"):
        generator.tuned(Difference({}, "ab" * 32))
    stranger = Projection(pivot.ws, pivot.noise, 1.0, 1.0, 1, "w+", "ab" * 32)
    with pytest.raises(ganworks.BasisMismatch, match="another generator"):
        tune(generator, target, stranger)


@pytest.mark.parametrize(
    "tensors",
    [
        {"ws": (1, 2)},
        {"synthesis.x.left": (2, 3)},
        {"synthesis.x.left": (2, 3), "synthesis.x.right": (2, 5)},
        {"synthesis.x.left": (2,), "synthesis.x.right": (2,)},
        {"synthesis.x.left": (2, 1), "synthesis.x.right": (1, 2), "synthesis.x.whole": (2, 2)},
    ],
)
def test_a_file_with_other_tensors_is_refused(tensors: dict[str, tuple[int, ...]]) -> None:
    file = io.BytesIO()
    checkpoint.write(file, "tuning", {}, {key: torch.zeros(shape) for key, shape in tensors.items()})
    with pytest.raises(ganworks.CheckpointError, match="no change of a parameter"):
        Tuned.load(file)


def test_a_file_that_is_too_large_is_refused_before_it_is_read() -> None:
    file = io.BytesIO()
    checkpoint.write(file, "tuning", {}, {"synthesis.x.whole": torch.zeros(1_000_000)})
    with pytest.raises(ganworks.CheckpointError, match="larger than 2000000 bytes"):
        Tuned.load(file)


def test_a_projection_is_no_tuning(pivot: Projection) -> None:
    file = io.BytesIO()
    pivot.save(file)
    with pytest.raises(ganworks.CheckpointError, match="holds a projection, and a tuning is needed"):
        Tuned.load(file)


@pytest.mark.parametrize(
    "tensors",
    [
        {"synthesis.b8.conv1.bias.whole": (15,)},
        {"synthesis.b8.conv1.weight.whole": (1, 1, 3, 3)},
        {"synthesis.b8.conv1.weight.left": (16, 1), "synthesis.b8.conv1.weight.right": (1, 16)},
        {"synthesis.b8.conv9.bias.whole": (16,)},
        {"synthesis.b8.conv1.noise_const.whole": (8, 8)},
        {"mapping.fc0.bias.whole": (24,)},
        {"whole.whole": (1,)},
    ],
)
def test_changes_that_do_not_fit_the_network_are_refused(
    generator: Generator, tensors: dict[str, tuple[int, ...]]
) -> None:
    wrong = Difference({key: torch.zeros(shape) for key, shape in tensors.items()}, generator.sha256)
    with pytest.raises(ganworks.InvalidInput, match="This tuning"):
        generator.tuned(wrong)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"steps": 0}, "steps"), ({"steps": 10_001}, "steps"), ({"preview_every_seconds": 0}, "previews")],
)
def test_impossible_wishes_are_refused(
    generator: Generator, target: torch.Tensor, pivot: Projection, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ganworks.InvalidInput, match=message):
        tune(generator, target, pivot, **changes)


def test_a_picture_of_another_size_or_with_broken_numbers_is_refused(
    generator: Generator, pivot: Projection
) -> None:
    with pytest.raises(ganworks.InvalidInput, match=r"\[1, 3, 32, 32\]"):
        tune(generator, torch.zeros(1, 3, 16, 16), pivot)
    with pytest.raises(ganworks.InvalidInput, match="finite"):
        tune(generator, torch.full((1, 3, 32, 32), float("nan")), pivot)
