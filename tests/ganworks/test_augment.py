"""Augmentations: that they do what they say, leak nothing, and keep to what the controller asks."""

import math
from collections.abc import Callable

import pytest
import torch

from ganworks.training.augment import P_MAX, UPDATE_EVERY_STEPS, Controller, augment, blit, recolor, warp


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(16, 3, 32, 32, generator=seeded(7)) * 2 - 1


def test_nothing_happens_at_probability_zero(pictures: torch.Tensor) -> None:
    assert torch.equal(augment(pictures, 0.0, seeded()), pictures)


def test_the_same_seed_gives_the_same_augmentations(pictures: torch.Tensor) -> None:
    first = augment(pictures, 0.7, seeded(3))
    assert torch.equal(first, augment(pictures, 0.7, seeded(3)))
    assert not torch.equal(first, augment(pictures, 0.7, seeded(4)))


def test_augmented_pictures_keep_their_shape_in_float32(pictures: torch.Tensor) -> None:
    found = augment(pictures.bfloat16(), 0.8, seeded())
    assert found.shape == pictures.shape
    assert found.dtype == torch.float32
    assert found.isfinite().all()


@pytest.mark.parametrize(
    ("transform", "chances"),
    [(blit, [0.05, 0.075, 0.096]), (warp, [0.1] * 4), (recolor, [0.1, 0.1, 0.05, 0.1, 0.1])],
)
def test_each_transform_leaves_the_chosen_part_alone(
    transform: Callable[[torch.Tensor, float, torch.Generator], torch.Tensor], chances: list[float]
) -> None:
    pictures = torch.rand(600, 3, 16, 16, generator=seeded(1))
    found = transform(pictures, 0.1, seeded(2))
    same = ((found - pictures).abs().amax(dim=(1, 2, 3)) < 1e-6).float().mean()
    assert same == pytest.approx(math.prod(1 - chance for chance in chances), abs=0.06)


def test_moving_whole_pixels_invents_no_value() -> None:
    picture = torch.arange(16.0 * 16).view(1, 1, 16, 16).expand(40, 3, -1, -1)
    found = blit(picture, 0.8, seeded())
    assert set(found.unique().tolist()) <= set(range(256))


def test_turns_by_right_angles_are_as_likely_as_they_should_be() -> None:
    """Upright pictures stay the most frequent, so the discriminator's view has one true origin."""
    picture = torch.zeros(4000, 1, 8, 8)
    picture[:, :, :4, :] = torch.linspace(0.1, 0.8, 8)  # the upper half; darker on the left
    found = blit(picture, P_MAX, seeded())
    sums = torch.stack(
        [
            found[:, 0, :4].sum((1, 2)),
            found[:, 0, 4:].sum((1, 2)),
            found[..., :4].sum((1, 2, 3)),
            found[..., 4:].sum((1, 2, 3)),
        ]
    )
    upper = (sums.argmax(dim=0) == 0).float().mean()
    assert upper == pytest.approx(1 - P_MAX * 3 / 4, abs=0.06)


def test_mirrored_edges_continue_a_shifted_picture() -> None:
    picture = torch.ones(30, 3, 16, 16)
    assert torch.equal(blit(picture, 0.8, seeded()), picture)
    torch.testing.assert_close(warp(picture, 0.8, seeded()), picture)


def test_only_pictures_that_move_are_resampled(pictures: torch.Tensor) -> None:
    found = warp(pictures, 0.05, seeded(5))
    untouched = (found == pictures).flatten(1).all(dim=1)
    assert 0 < int(untouched.sum()) < len(pictures)


def test_hue_and_saturation_leave_gray_alone() -> None:
    gray = torch.linspace(-1, 1, 256).view(1, 1, 16, 16).expand(64, 3, -1, -1)
    found = recolor(gray, 0.8, seeded())
    torch.testing.assert_close(found, found.mean(dim=1, keepdim=True).expand_as(found), atol=1e-5, rtol=0)


def test_a_color_is_only_turned_stretched_and_moved() -> None:
    """Each picture's colors go through one affine map, which is invertible."""
    colors = torch.rand(32, 3, 4, 4, generator=seeded(1))
    found = recolor(colors, 0.8, seeded(2))
    for before, after in zip(colors, found, strict=True):
        known = torch.cat([before.flatten(1), torch.ones(1, 16)]).t()
        solution = torch.linalg.lstsq(known, after.flatten(1).t()).solution
        torch.testing.assert_close(known @ solution, after.flatten(1).t(), atol=1e-4, rtol=0)
        assert torch.linalg.det(solution[:3]).abs() > 1e-4


def test_gradients_reach_the_pictures(pictures: torch.Tensor) -> None:
    pictures.requires_grad_()
    torch.autograd.backward(augment(pictures, 0.8, seeded()).square().sum())
    assert pictures.grad is not None
    assert (pictures.grad.abs().sum(dim=(1, 2, 3)) > 0).all()


def test_p_rises_while_the_discriminator_is_sure_and_falls_while_it_guesses() -> None:
    controller = Controller(target=0.6, speed_pictures=160)
    for _ in range(2 * UPDATE_EVERY_STEPS):
        controller.look(torch.ones(8, 1))
    assert controller.certainty == 1
    assert controller.p == pytest.approx(2 * UPDATE_EVERY_STEPS * 8 / 160)
    for _ in range(UPDATE_EVERY_STEPS):
        controller.look(torch.tensor([[1.0], [-1.0]] * 4))
    assert controller.certainty == 0
    assert controller.p == pytest.approx(UPDATE_EVERY_STEPS * 8 / 160)


def test_p_stays_where_nothing_leaks() -> None:
    controller = Controller(speed_pictures=8)
    for _ in range(10 * UPDATE_EVERY_STEPS):
        controller.look(torch.ones(8, 1))
    assert controller.p == P_MAX
    for _ in range(10 * UPDATE_EVERY_STEPS):
        controller.look(-torch.ones(8, 1))
    assert controller.p == 0


def test_a_controller_goes_on_in_the_middle_of_its_count() -> None:
    straight, stopped = Controller(speed_pictures=64), Controller(speed_pictures=64)
    scores = torch.randn(7, 8, 1, generator=seeded(1))
    for score in scores:
        straight.look(score)
    for score in scores[:2]:
        stopped.look(score)
    resumed = Controller(speed_pictures=64)
    resumed.load_state_dict(stopped.state_dict())
    for score in scores[2:]:
        resumed.look(score)
    assert resumed.state_dict() == straight.state_dict()
