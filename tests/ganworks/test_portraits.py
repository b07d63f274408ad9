"""The portraits renderer: what is promised about its latents, pictures and masks."""

import pytest
import torch

import ganworks
from ganworks.training.domains import portraits

INDEX = {factor.name: i for i, factor in enumerate(portraits.FACTORS)}


def changed(z: torch.Tensor, name: str, value: float) -> torch.Tensor:
    z = z.clone()
    z[:, INDEX[name]] = value
    return z


@pytest.fixture(scope="module")
def z() -> torch.Tensor:
    return portraits.example_latents(2, seed=3)


def test_the_same_latents_give_the_same_pictures(z: torch.Tensor) -> None:
    first, _ = portraits.render(z, 32)
    second, _ = portraits.render(z, 32)
    assert torch.equal(first, second)


def test_a_picture_does_not_depend_on_its_neighbors(z: torch.Tensor) -> None:
    together, _ = portraits.render(z, 32)
    alone, _ = portraits.render(z[1:], 32)
    torch.testing.assert_close(together[1:], alone)


def test_pictures_and_masks_have_the_promised_shapes_and_ranges(z: torch.Tensor) -> None:
    pictures, masks = portraits.render(z, 32)
    assert pictures.shape == (2, 3, 32, 32)
    assert masks.shape == (2, 2, 32, 32)
    assert -1 <= pictures.min() < -0.3 < 0.3 < pictures.max() <= 1
    assert masks.min() >= 0
    assert 0.5 < masks.max() <= 1


def test_eyes_lie_above_the_mouth(z: torch.Tensor) -> None:
    _, masks = portraits.render(z, 32)
    rows = torch.arange(32.0)[None, None, :]
    height = (masks.sum(dim=3) * rows).sum(dim=2) / masks.sum(dim=(2, 3))
    assert (height[:, 0] < height[:, 1]).all()


def test_each_latent_coordinate_is_one_documented_factor(z: torch.Tensor) -> None:
    assert z.shape[1] == portraits.Z_DIM == len(portraits.FACTORS)
    assert list(portraits.factors(z)) == [factor.name for factor in portraits.FACTORS]
    assert len(INDEX) == portraits.Z_DIM
    assert all(factor.low < factor.high and factor.meaning for factor in portraits.FACTORS)


def test_the_order_of_visibility_names_every_factor_once() -> None:
    assert sorted(portraits.BY_VISIBILITY) == sorted(INDEX)


def test_factors_stay_within_their_documented_ranges() -> None:
    values = portraits.factors(10 * portraits.example_latents(500, seed=0))
    for factor in portraits.FACTORS:
        assert factor.low <= values[factor.name].min()
        assert values[factor.name].max() <= factor.high
        middle = values[factor.name].mean().item()
        assert middle == pytest.approx((factor.low + factor.high) / 2, abs=0.1 * (factor.high - factor.low))


def test_the_length_of_a_latent_does_not_matter(z: torch.Tensor) -> None:
    torch.testing.assert_close(portraits.render(z, 16)[0], portraits.render(3 * z, 16)[0], atol=1e-3, rtol=0)


@pytest.mark.parametrize("name", sorted(INDEX))
def test_every_factor_changes_something_in_some_portrait(name: str) -> None:
    z = portraits.example_latents(2, seed=11)
    for needed in ("glasses", "stripes"):  # so that what depends on them shows
        z = changed(z, needed, 2.0)
    low, _ = portraits.render(changed(z, name, -2.5), 48)
    high, _ = portraits.render(changed(z, name, 2.5), 48)
    assert (low - high).abs().max() > 0.05


def test_turning_the_head_moves_the_eyes_to_the_same_side() -> None:
    z = torch.zeros(1, portraits.Z_DIM)
    columns = torch.arange(32.0)[None, None, :]

    def eyes_at(yaw: float) -> float:
        _, masks = portraits.render(changed(z, "yaw", yaw), 32)
        eyes = masks[:, :1].sum(dim=2)
        return float((eyes * columns).sum() / eyes.sum())

    assert eyes_at(-2.0) < eyes_at(0.0) < eyes_at(2.0)


def test_a_darker_skin_tone_is_darker() -> None:
    z = torch.zeros(1, portraits.Z_DIM)
    light, _ = portraits.render(changed(z, "skin_tone", -2.0), 32)
    dark, _ = portraits.render(changed(z, "skin_tone", 2.0), 32)
    assert dark[:, :, 12:22, 12:20].mean() < light[:, :, 12:22, 12:20].mean() - 0.3


def test_the_starter_generator_comes_with_its_components_and_critic() -> None:
    library = ganworks.Library(directories=[])
    generator, basis = library.generator("portraits"), library.basis("portraits")
    basis.check_generator(generator.sha256)
    assert generator.z_dim == portraits.Z_DIM
    assert library.critic("portraits") is not None
    pictures = generator.synthesis(generator.mapping(generator.latents([0, 1])))
    assert (pictures[0] - pictures[1]).abs().mean() > 0.05


def test_the_starters_named_head_turn_moves_the_face() -> None:
    library = ganworks.Library(directories=[])
    generator, basis = library.generator("portraits"), library.basis("portraits")
    step = basis.step(basis.names.index("Head turn"))
    ws = generator.mapping(generator.latents([4]), truncation_psi=0.8)
    left, right = (generator.synthesis(ws + k * step) for k in (-2, 2))
    middle = generator.resolution // 2
    face = slice(middle - middle // 3, middle + middle // 3)
    assert (left - right)[:, :, face, face].abs().mean() > 0.05
