"""The renderers: what each domain promises about its latents, pictures and masks."""

import pytest
import torch

from ganworks.training import domains
from ganworks.training.domains import Domain, landscapes, portraits

ALL = [domains.by_name(name) for name in domains.NAMES]
# Factors that others depend on: these must be there for the others to show.
SHOWING = {
    "portraits": {"glasses": 2.0, "stripes": 2.0},
    "landscapes": {
        "water": 0.7,
        "clouds": 0.3,
        "trees": 2.0,
        "peaks": 1.5,
        "flowers": 1.5,
        "season": 0.4,
        "haze": -1.0,
    },
}


@pytest.fixture(params=ALL, ids=domains.NAMES)
def domain(request: pytest.FixtureRequest) -> Domain:
    found: Domain = request.param
    return found


def changed(domain: Domain, z: torch.Tensor, **values: float) -> torch.Tensor:
    places = {factor.name: place for place, factor in enumerate(domain.FACTORS)}
    z = z.clone()
    for name, value in values.items():
        z[:, places[name]] = value
    return z


def test_the_same_latents_give_the_same_pictures(domain: Domain) -> None:
    z = domain.example_latents(2, seed=3)
    first, second = (domain.render(z, 32)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_a_picture_does_not_depend_on_its_neighbors(domain: Domain) -> None:
    z = domain.example_latents(2, seed=3)
    torch.testing.assert_close(domain.render(z, 32)[0][1:], domain.render(z[1:], 32)[0])


def test_pictures_and_masks_have_the_promised_shapes_and_ranges(domain: Domain) -> None:
    pictures, masks = domain.render(domain.example_latents(6, seed=3), 32)
    assert pictures.shape == (6, 3, 32, 32)
    assert masks.shape == (6, 2, 32, 32)
    assert -1 <= pictures.min() < -0.3 < 0.3 < pictures.max() <= 1
    assert masks.min() >= 0
    assert 0.5 < masks.max() <= 1


def test_each_latent_coordinate_is_one_documented_factor(domain: Domain) -> None:
    names = [factor.name for factor in domain.FACTORS]
    assert domain.Z_DIM == len(names) == len(set(names))
    assert domain.example_latents(2, seed=0).shape == (2, domain.Z_DIM)
    assert sorted(domain.BY_VISIBILITY) == sorted(names)
    assert all(factor.low < factor.high and factor.meaning for factor in domain.FACTORS)


def test_factors_stay_within_their_documented_ranges(domain: Domain) -> None:
    values = {"portraits": portraits, "landscapes": landscapes}[domain.LABEL.lower()].factors(
        10 * domain.example_latents(500, seed=0)
    )
    for factor in domain.FACTORS:
        assert factor.low <= values[factor.name].min()
        assert values[factor.name].max() <= factor.high
        middle = values[factor.name].mean().item()
        assert middle == pytest.approx((factor.low + factor.high) / 2, abs=0.1 * (factor.high - factor.low))


def test_the_length_of_a_latent_does_not_matter(domain: Domain) -> None:
    z = domain.example_latents(2, seed=3)
    torch.testing.assert_close(domain.render(z, 16)[0], domain.render(3 * z, 16)[0], atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("name", "factor"), [(name, f.name) for name in domains.NAMES for f in domains.by_name(name).FACTORS]
)
def test_every_factor_changes_something_in_some_picture(name: str, factor: str) -> None:
    domain = domains.by_name(name)
    z = changed(domain, domain.example_latents(3, seed=11), **SHOWING[name])
    low, high = (domain.render(changed(domain, z, **{factor: value}), 48)[0] for value in (-2.5, 2.5))
    assert (low - high).abs().max() > 0.05


def test_an_unknown_domain_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match="portraits, landscapes"):
        domains.by_name("os")


# --- What portraits show ------------------------------------------------------------------------------------


def test_eyes_lie_above_the_mouth() -> None:
    _, masks = portraits.render(portraits.example_latents(2, seed=3), 32)
    rows = torch.arange(32.0)[None, None, :]
    height = (masks.sum(dim=3) * rows).sum(dim=2) / masks.sum(dim=(2, 3))
    assert (height[:, 0] < height[:, 1]).all()


def test_turning_the_head_moves_the_eyes_to_the_same_side() -> None:
    z = torch.zeros(1, portraits.Z_DIM)
    columns = torch.arange(32.0)[None, None, :]

    def eyes_at(yaw: float) -> float:
        _, masks = portraits.render(changed(portraits, z, yaw=yaw), 32)
        eyes = masks[:, :1].sum(dim=2)
        return float((eyes * columns).sum() / eyes.sum())

    assert eyes_at(-2.0) < eyes_at(0.0) < eyes_at(2.0)


def test_a_darker_skin_tone_is_darker() -> None:
    z = torch.zeros(1, portraits.Z_DIM)
    light, dark = (portraits.render(changed(portraits, z, skin_tone=tone), 32)[0] for tone in (-2.0, 2.0))
    assert dark[:, :, 12:22, 12:20].mean() < light[:, :, 12:22, 12:20].mean() - 0.3


# --- What landscapes show -----------------------------------------------------------------------------------


def test_a_night_is_darker_than_a_day() -> None:
    z = landscapes.example_latents(4, seed=2)
    day, night = (
        landscapes.render(changed(landscapes, z, sun_height=height), 32)[0] for height in (2.0, -2.0)
    )
    assert night.mean() < day.mean() - 0.4


def test_winter_is_whiter_than_summer() -> None:
    z = changed(landscapes, landscapes.example_latents(4, seed=2), sun_height=2.0, clouds=-2.0, water=-2.0)
    winter, summer = (
        landscapes.render(changed(landscapes, z, season=s), 32)[0][:, :, 20:] for s in (-2.5, 0.4)
    )

    def colorfulness(picture: torch.Tensor) -> float:
        return float((picture.max(dim=1).values - picture.min(dim=1).values).mean())

    assert colorfulness(winter) < colorfulness(summer)


def test_still_water_mirrors_the_sky() -> None:
    wish = {"water": 2.5, "ripples": -2.5, "shore_height": -2.5, "trees": -2.5, "clouds": -2.5, "peaks": -2.5}
    z = changed(landscapes, landscapes.example_latents(1, seed=4), **wish, sun_height=1.5, haze=-2.0)
    blue, red = (landscapes.render(changed(landscapes, z, sun_height=h), 32)[0] for h in (2.5, -0.9))
    sky, water = ((blue - red).mean(dim=(0, 3))[:, rows] for rows in (slice(0, 6), slice(24, 30)))
    assert torch.corrcoef(torch.stack([sky.mean(dim=1), water.mean(dim=1)]))[0, 1] > 0.8


def test_the_suns_mask_is_where_the_sun_stands() -> None:
    z = changed(landscapes, torch.zeros(1, landscapes.Z_DIM), sun_height=1.0)
    columns = torch.arange(64.0)[None, None, :]

    def sun_at(place: float) -> float:
        _, masks = landscapes.render(changed(landscapes, z, sun_x=place), 64)
        sun = masks[:, 1:].sum(dim=2)
        return float((sun * columns).sum() / sun.sum())

    assert sun_at(-1.0) < sun_at(0.0) < sun_at(1.0)
