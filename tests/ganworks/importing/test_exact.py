"""Every vector, written as the public tools write it and imported, draws what the reference implementation drew."""

from pathlib import Path

import numpy as np
import pytest
import torch

import ganworks
from ganworks.generator import Generator, open_generator

from .writer import pickled, reference, snapshot

STYLEGAN2 = ("skip", "cond", "orig", "resnet")
STYLEGAN3 = ("sg3t", "sg3r")
PROTOCOLS = (2, 3, 4, 5)


def imported(folder: Path, data: bytes, name: str = "file.pkl") -> Generator:
    """The generator of a checkpoint, through a file and the child process."""
    source, target = folder / name, folder / "model" / "generator.safetensors"
    source.write_bytes(data)
    ganworks.import_checkpoint(source, target)
    return open_generator(target)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Generator]:
    """The generators of all vectors, imported once."""
    names = (*STYLEGAN2, *STYLEGAN3)
    return {name: imported(tmp_path_factory.mktemp(name), pickled(snapshot(name))) for name in names}


def assert_same_picture(drawn: torch.Tensor, wanted: torch.Tensor) -> None:
    assert drawn.shape == wanted.shape
    assert (drawn - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("name", [*STYLEGAN2, *STYLEGAN3])
def test_mapping_agrees_within_a_hundred_thousandth(opened: dict[str, Generator], name: str) -> None:
    generator, wanted = opened[name], reference(name)
    c = wanted["c"] if generator.c_dim else None
    for key, psi, cutoff in (("psi10", 1.0, None), ("psi07", 0.7, None), ("psi07_cut4", 0.7, 4)):
        if f"ws_{key}" in wanted:
            found = generator.mapping(wanted["z"], c, psi, cutoff)
            torch.testing.assert_close(found, wanted[f"ws_{key}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", STYLEGAN2)
def test_stylegan2_draws_the_reference_pictures(opened: dict[str, Generator], name: str) -> None:
    generator, wanted = opened[name], reference(name)
    for picture, ws, mode in (
        ("img_const_psi10", "ws_psi10", "const"),
        ("img_const_psi07", "ws_psi07", "const"),
        ("img_none_psi07", "ws_psi07", "none"),
        ("img_const_mixed", "ws_mixed", "const"),
    ):
        assert_same_picture(generator.synthesis(wanted[ws], mode), wanted[picture])


@pytest.mark.parametrize("name", STYLEGAN3)
def test_stylegan3_draws_the_reference_pictures(opened: dict[str, Generator], name: str) -> None:
    generator, wanted = opened[name], reference(name)
    for key in ("psi10", "psi07"):
        assert_same_picture(generator.synthesis(wanted[f"ws_{key}"]), wanted[f"img_{key}"])
    moved = generator.synthesis(wanted["ws_psi10"], translate=(0.1, -0.2), rotate=30)
    assert_same_picture(moved, wanted["img_psi10_transformed"])


@pytest.mark.parametrize("name", STYLEGAN2)
def test_gradients_agree_within_a_ten_thousandth(opened: dict[str, Generator], name: str) -> None:
    generator, wanted = opened[name], reference(name)
    w = wanted["ws_psi10"][:1, :1].clone().requires_grad_()
    generator.network.draw(w.repeat(1, generator.num_ws, 1)).square().mean().backward()
    assert w.grad is not None
    assert (w.grad - wanted["grad_w"]).abs().max() <= 1e-4 * wanted["grad_w"].abs().max()


def test_seeds_give_the_latents_of_the_public_tools(opened: dict[str, Generator]) -> None:
    generator = opened["skip"]
    for seed in (0, 7, 2**32 - 1):
        wanted = np.random.RandomState(seed).randn(1, generator.z_dim).astype(np.float32)
        assert generator.latents([seed]).numpy().tobytes() == wanted.tobytes()


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ["cond", "sg3r"])
def test_all_protocols_and_both_generations_of_numpy_give_the_same_weights(
    opened: dict[str, Generator], tmp_path: Path, name: str, protocol: int, old: bool
) -> None:
    found = imported(tmp_path, pickled(snapshot(name), protocol, old=old)).network.state_dict()
    wanted = opened[name].network.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
