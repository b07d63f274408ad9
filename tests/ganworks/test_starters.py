"""The starters: the generators "portraits" and "landscapes", and the upscalers."""

import numpy as np
import pytest
import torch

import ganworks
from ganworks.perceptual import psnr
from ganworks.training import domains
from ganworks.training.upscaling_measure import enlarge, held_out_pictures

NAMED = 16
by_name = pytest.mark.parametrize("name", ["portraits", "landscapes"])


@by_name
def test_a_starter_generator_comes_with_its_components_and_critic(name: str) -> None:
    library = ganworks.Library(directories=[])
    generator, basis = library.generator(name), library.basis(name)
    basis.check_generator(generator.sha256)
    assert not [given for given in basis.names[:NAMED] if given.startswith("Component")]
    assert len(set(basis.names)) == len(basis.names)
    assert generator.z_dim == domains.by_name(name).Z_DIM
    assert library.critic(name) is not None
    pictures = generator.synthesis(generator.mapping(generator.latents([0, 1])))
    assert (pictures[0] - pictures[1]).abs().mean() > 0.05


@by_name
def test_a_starter_generator_draws_what_its_domain_renders(name: str) -> None:
    generator, domain = ganworks.Library(directories=[]).generator(name), domains.by_name(name)
    z = domain.example_latents(8, 5)
    rendered, _ = domain.render(z, generator.resolution)
    drawn = generator.synthesis(generator.mapping(z)).clamp(-1, 1)
    assert psnr(drawn, rendered).mean() > psnr(drawn.roll(1, dims=0), rendered).mean() + 6


def test_the_starters_named_head_turn_moves_the_face() -> None:
    library = ganworks.Library(directories=[])
    generator, basis = library.generator("portraits"), library.basis("portraits")
    step = basis.step(basis.names.index("Head turn"))
    ws = generator.mapping(generator.latents([4]), truncation_psi=0.8)
    left, right = (generator.synthesis(ws + k * step) for k in (-2, 2))
    middle = generator.resolution // 2
    face = slice(middle - middle // 3, middle + middle // 3)
    assert (left - right)[:, :, face, face].abs().mean() > 0.05


@by_name
def test_a_starters_encoder_finds_a_picture_about_again_in_one_pass(name: str) -> None:
    library = ganworks.Library(directories=[])
    generator, encoder = library.generator(name), library.encoder(name)
    assert encoder is not None
    encoder.check_generator(generator.sha256)
    pictures = generator.synthesis(generator.mapping(generator.latents(range(900, 908)))).clamp(-1, 1)
    drawn = generator.synthesis(encoder(pictures))
    mean = generator.synthesis(generator.w_avg.expand(1, generator.num_ws, -1))
    assert psnr(drawn, pictures).mean() > psnr(mean, pictures).mean() + 5
    assert torch.equal(ganworks.encode(name, pictures), encoder(pictures))


@pytest.mark.parametrize(
    ("name", "scale", "gain_db"),
    [("faithful-x4", 4, 1.0), ("faithful-x2", 2, 1.0), ("crisp-x4", 4, 1.0), ("crisp-x2", 2, 1.0)],
)
def test_the_starters_upscalers_are_much_nearer_to_the_truth_than_bicubic(
    name: str, scale: int, gain_db: float
) -> None:
    upscaler = ganworks.open_upscaler(name)
    assert upscaler.scale == scale
    results = [enlarge(upscaler, picture) for picture in held_out_pictures(4, 96)]
    gains = [result.scores.psnr - result.scores_bicubic.psnr for result in results]
    assert np.mean(gains) > gain_db


def test_every_starter_is_small_and_has_a_card() -> None:
    infos = ganworks.Library(directories=[]).upscalers()
    assert {info.name for info in infos} == {"faithful-x4", "faithful-x2", "crisp-x4", "crisp-x2"}
    for info in infos:
        assert info.bytes < 3_000_000
        kind = info.name.partition("-")[0].capitalize()
        assert info.title == f"{kind} (\N{MULTIPLICATION SIGN}{info.scale})"
        assert "`python -m ganworks.training.upscaling" in (info.path.parent / "card.md").read_text()
