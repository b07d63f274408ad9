"""The discriminator: shapes, features, and that it can be differentiated twice."""

import pytest
import torch

from ganworks.networks.discriminator import Discriminator
from ganworks.training import losses


@pytest.fixture
def discriminator() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(32, channel_base=256, channel_max=16)


def test_each_picture_gets_one_score(discriminator: Discriminator) -> None:
    assert discriminator(torch.randn(4, 3, 32, 32)).shape == (4, 1)


def test_any_batch_size_is_scored(discriminator: Discriminator) -> None:
    for count in (1, 3, 6):
        assert discriminator(torch.randn(count, 3, 32, 32)).isfinite().all()


def test_features_halve_the_resolution_block_by_block(discriminator: Discriminator) -> None:
    maps = discriminator.features(torch.randn(2, 3, 32, 32))
    assert [tuple(m.shape) for m in maps] == [(2, 16, 16, 16), (2, 16, 8, 8), (2, 16, 4, 4)]


def test_features_of_a_picture_do_not_depend_on_the_rest_of_the_batch(discriminator: Discriminator) -> None:
    pictures = torch.randn(3, 3, 32, 32)
    alone = discriminator.features(pictures[:1])
    together = discriminator.features(pictures)
    for a, b in zip(alone, together, strict=True):
        torch.testing.assert_close(a, b[:1], rtol=1e-4, atol=1e-5)


def test_tensor_names_are_those_of_public_checkpoints(discriminator: Discriminator) -> None:
    keys = set(discriminator.state_dict())
    expected = {"b32.fromrgb.weight", "b32.conv0.bias", "b16.conv1.resample_filter", "b8.skip.weight"}
    assert expected | {"b4.conv.weight", "b4.fc.weight", "b4.out.bias"} <= keys
    assert "b16.fromrgb.weight" not in keys
    assert "b8.skip.bias" not in keys


def test_the_r1_penalty_reaches_every_weight_that_shapes_the_score(discriminator: Discriminator) -> None:
    torch.autograd.backward(losses.r1_penalty(discriminator, torch.randn(4, 3, 32, 32)))
    for name, parameter in discriminator.named_parameters():
        if name.endswith("weight"):
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name


def test_the_r1_penalty_is_the_squared_slope_of_a_linear_score() -> None:
    slope = torch.randn(3, 8, 8)

    class Linear(torch.nn.Module):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return (pictures * slope).sum(dim=(1, 2, 3))

    torch.testing.assert_close(losses.r1_penalty(Linear(), torch.randn(2, 3, 8, 8)), slope.square().sum())


def test_a_resolution_that_is_no_power_of_two_is_refused() -> None:
    with pytest.raises(ValueError, match="power of two"):
        Discriminator(48)


def test_lower_resolutions_enter_at_their_block() -> None:
    torch.manual_seed(0)
    growing = Discriminator(32, channel_base=256, channel_max=16, entries=(8, 16))
    for side in (8, 16, 32):
        assert growing(torch.randn(4, 3, side, side)).shape == (4, 1)
    assert [tuple(m.shape[2:]) for m in growing.features(torch.randn(1, 3, 16, 16))] == [(8, 8), (4, 4)]


def test_a_block_that_is_faded_out_leaves_the_lower_resolution_to_judge() -> None:
    torch.manual_seed(0)
    growing = Discriminator(32, channel_base=256, channel_max=16, entries=(16,))
    large = torch.randn(4, 3, 32, 32)
    small = torch.nn.functional.avg_pool2d(large, 2)
    torch.testing.assert_close(growing(large, torch.tensor(0.0)), growing(small))
    torch.testing.assert_close(growing(large, torch.tensor(1.0)), growing(large))


def test_pictures_that_have_no_way_in_are_refused(discriminator: Discriminator) -> None:
    with pytest.raises(ValueError, match="judges pictures of 32 pixels, not of 16"):
        discriminator(torch.randn(1, 3, 16, 16))
    with pytest.raises(ValueError, match="power of two from 8"):
        Discriminator(32, entries=(64,))
