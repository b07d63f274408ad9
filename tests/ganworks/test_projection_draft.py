"""Projections that start from a draft: a latent, or an encoder's."""

from typing import Any

import pytest
import torch

import ganworks
from ganworks.encoder import Encoder
from ganworks.generator import Generator
from ganworks.projection import ProjectionStep, project

from .test_encoder import CPU, small_encoder


@pytest.fixture
def truth(generator: Generator) -> torch.Tensor:
    """A latent of W+: rows from two seeds."""
    one, other = generator.mapping(generator.latents([5, 6]), truncation_psi=0.7)
    return torch.cat([one[:4], other[4:]])[None]


@pytest.fixture
def target(generator: Generator, truth: torch.Tensor) -> torch.Tensor:
    return generator.synthesis(truth).clamp(-1, 1)


class Knowing(Encoder):
    """An encoder that knows the answer."""

    def __init__(self, answer: torch.Tensor, sha256: str) -> None:
        super().__init__(small_encoder(), sha256, CPU)
        self.answer = answer

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.answer.expand(len(pictures), -1, -1)


def test_a_draft_comes_back_as_it_is_when_no_steps_are_wanted(
    generator: Generator, target: torch.Tensor, truth: torch.Tensor
) -> None:
    found = project(generator, target, steps=0, start=truth)
    torch.testing.assert_close(found.ws, truth, rtol=1e-3, atol=1e-3)
    assert found.psnr > 50
    assert (found.steps, found.stopped_early) == (0, False)
    assert found.noise.keys() == generator.network.noise_buffers().keys()


def test_the_search_goes_on_from_the_draft(
    generator: Generator, target: torch.Tensor, truth: torch.Tensor
) -> None:
    near = truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    draft, found = (project(generator, target, steps=steps, start=near) for steps in (0, 20))
    assert found.loss < draft.loss
    assert found.loss < project(generator, target, steps=20).loss
    assert torch.equal(found.ws, project(generator, target, steps=20, start=near).ws)


def test_the_draft_is_told_before_the_first_step(
    generator: Generator, target: torch.Tensor, truth: torch.Tensor
) -> None:
    told: list[ProjectionStep] = []
    encoder = Knowing(truth, generator.sha256)
    project(generator, target, steps=3, encoder=encoder, on_step=told.append, preview_every_seconds=3600)
    assert [step.step for step in told] == [0, 1, 2, 3]
    first = told[0].preview
    assert first is not None
    torch.testing.assert_close(first, generator.synthesis(truth), rtol=1e-2, atol=1e-2)
    assert [step.preview is None for step in told] == [False, True, True, False]
    assert all(later.loss <= told[0].loss for later in told)


def test_a_draft_that_is_farther_than_the_mean_is_left(generator: Generator, target: torch.Tensor) -> None:
    far = 30 * torch.randn(1, 8, 24, generator=torch.Generator().manual_seed(0))
    found, without = project(generator, target, steps=8, start=far), project(generator, target, steps=8)
    assert torch.equal(found.ws, without.ws)
    assert found.loss == without.loss


def test_in_w_only_what_all_rows_of_a_draft_share_counts(
    generator: Generator, target: torch.Tensor, truth: torch.Tensor
) -> None:
    for steps in (0, 5):
        ws = project(generator, target, steps=steps, space="w", start=truth).ws
        assert torch.allclose(ws, ws[:, :1].expand_as(ws))


def test_a_draft_may_be_one_of_several_starts(
    generator: Generator, target: torch.Tensor, truth: torch.Tensor
) -> None:
    found = project(generator, target, steps=10, starts=3, start=truth)
    assert found.ws.shape == truth.shape
    assert found.loss <= project(generator, target, steps=0, start=truth).loss


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": torch.zeros(1, 7, 24)}, r"\[1, 8, 24\]"),
        ({"start": torch.full((1, 8, 24), float("nan"))}, "finite"),
        ({"start": torch.zeros(1, 8, 24), "steps": -1}, "from 0"),
        ({"steps": 0}, "from 1"),
    ],
)
def test_drafts_that_cannot_be_are_refused(
    generator: Generator, target: torch.Tensor, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ganworks.InvalidInput, match=message):
        project(generator, target, **changes)


def test_two_drafts_and_an_encoder_of_another_generator_are_refused(
    generator: Generator, target: torch.Tensor, truth: torch.Tensor
) -> None:
    with pytest.raises(ganworks.InvalidInput, match="not from both"):
        project(generator, target, start=truth, encoder=Knowing(truth, generator.sha256))
    with pytest.raises(ganworks.EncoderMismatch):
        project(generator, target, encoder=Knowing(truth, "0" * 64))
