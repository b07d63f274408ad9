"""Drafts that are corrected by the last exact picture."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F

import ganworks
from ganworks import perceptual
from ganworks.drafts import Corrections
from ganworks.generator import Generator

PLACE = ("picture", 1)


@pytest.fixture
def portraits() -> Generator:
    """The starter, as if it were slow."""
    generator = ganworks.open_generator("portraits")
    generator.draft_resolution = 64
    return generator


def never() -> torch.Tensor:
    raise AssertionError("this draft is not needed")


def counted(draw: Callable[[], torch.Tensor]) -> tuple[Callable[[], torch.Tensor], list[int]]:
    calls: list[int] = []

    def call() -> torch.Tensor:
        calls.append(1)
        return draw()

    return call, calls


def test_a_draft_of_a_place_that_never_rested_stays_as_it_is() -> None:
    draft = torch.rand(1, 3, 8, 8)
    assert torch.equal(Corrections().corrected(PLACE, draft), draft)


def test_the_draft_of_the_latent_that_was_exact_becomes_the_exact_picture_reduced() -> None:
    corrections, picture, draft = Corrections(), torch.rand(1, 3, 32, 32), torch.rand(1, 3, 8, 8)
    draw, calls = counted(lambda: draft)
    corrections.rest(PLACE, picture, 8, draw)
    assert not calls, "drawn before anybody asked for a draft"
    for _ in range(2):
        torch.testing.assert_close(corrections.corrected(PLACE, draft), F.avg_pool2d(picture, 4))
    assert len(calls) == 1


def test_places_do_not_mix_and_the_oldest_are_forgotten() -> None:
    corrections, draft = Corrections(kept=2), torch.zeros(1, 3, 8, 8)
    for place in range(3):
        corrections.rest(place, torch.full((1, 3, 32, 32), float(place)), 8, lambda: draft)
    assert [float(corrections.corrected(place, draft).mean()) for place in range(3)] == [0.0, 1.0, 2.0]
    assert torch.equal(corrections.corrected(0, draft), draft)


def test_a_correction_of_another_size_is_left_alone() -> None:
    corrections = Corrections()
    corrections.rest(PLACE, torch.rand(1, 3, 32, 32), 8, lambda: torch.rand(1, 3, 8, 8))
    wide = torch.rand(1, 3, 8, 16)
    assert torch.equal(corrections.corrected(PLACE, wide), wide)


@pytest.mark.parametrize(("strength", "least_gain_db"), [(0.5, 4), (1.0, 1.5), (2.0, 0)])
def test_a_corrected_draft_is_nearer_to_the_picture(
    portraits: Generator, strength: float, least_gain_db: float
) -> None:
    basis = ganworks.Library().basis("portraits")
    ws = portraits.mapping(portraits.latents(range(6)), truncation_psi=0.7)
    corrections = Corrections()
    corrections.rest(PLACE, portraits.synthesis(ws), 64, lambda: portraits.draft(ws))
    for component in (0, 3):
        moved = ganworks.apply_edits(ws, [ganworks.Edit(basis, component, strength=strength)])
        exact = F.avg_pool2d(portraits.synthesis(moved), 2).clamp(-1, 1)
        draft = portraits.draft(moved)
        plain, better = (
            perceptual.psnr(pictures, exact).mean()
            for pictures in (draft, corrections.corrected(PLACE, draft))
        )
        assert better - plain > least_gain_db
