"""Distances between pictures."""

import pytest
import torch

import ganworks
from ganworks.generator import Generator
from ganworks.perceptual import Distance, Weights, laplacian_pyramid, open_critic, psnr, ssim

VIEWS = [Weights(1, 0, 0, 0), Weights(0, 1, 0, 0), Weights(0, 0, 1, 0), Weights(0, 0, 0, 1), Weights()]


@pytest.fixture
def critic(generator: Generator) -> ganworks.Critic:
    return open_critic(generator.info.path.with_name("critic.safetensors"))


def pictures(count: int = 1) -> torch.Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("weights", VIEWS)
def test_a_picture_is_at_no_distance_from_itself_and_farther_the_more_it_is_disturbed(
    weights: Weights, critic: ganworks.Critic
) -> None:
    target = pictures()
    distance = Distance(target, critic, weights)
    disturbed = torch.cat([target + size * pictures(2)[1:] for size in (0.0, 0.1, 0.5)])
    none, little, much = distance(disturbed).tolist()
    assert none == pytest.approx(0, abs=1e-5)
    assert none < little < much


@pytest.mark.parametrize("weights", VIEWS)
def test_gradients_of_all_views_are_finite(weights: Weights, critic: ganworks.Critic) -> None:
    image = (pictures() * 0.5).requires_grad_()
    Distance(pictures(), critic, weights)(image).sum().backward()
    assert image.grad is not None
    assert bool(image.grad.isfinite().all())
    assert image.grad.abs().sum() > 0


def test_a_critic_of_another_size_is_left_out(critic: ganworks.Critic) -> None:
    target = torch.zeros(1, 3, 16, 16)
    assert Distance(target, critic).critic is None
    with pytest.raises(ganworks.InvalidInput, match="32 pixels"):
        critic.features(target)


def test_a_critic_gives_a_map_for_each_size(critic: ganworks.Critic) -> None:
    assert [tuple(f.shape[2:]) for f in critic.features(pictures())] == [(16, 16), (8, 8), (4, 4)]


def test_a_pyramid_holds_the_whole_picture() -> None:
    image = pictures()
    levels = laplacian_pyramid(image)
    rebuilt = levels[-1]
    for level in reversed(levels[:-1]):
        rebuilt = level + torch.nn.functional.interpolate(
            rebuilt, size=level.shape[-2:], mode="bilinear", align_corners=False
        )
    torch.testing.assert_close(rebuilt, image)


def test_ssim_and_psnr_agree_with_what_is_known() -> None:
    image = pictures()
    assert ssim(image, image).item() == pytest.approx(1)
    assert ssim(-image, image).item() < 0
    assert ssim(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)).item() == pytest.approx(1)
    assert psnr(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.2)).item() == pytest.approx(20, abs=1e-3)
