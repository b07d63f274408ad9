"""Every vector, written as the public tools write it and imported, draws what the reference implementation drew."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import ganworks
from ganworks.generator import Generator, open_generator
from ganworks.importing.reader import read

from .support import imported
from .writer import Call, Name, average, generator, legacy, pickled, reference, rosinality, snapshot, zipped

STYLEGAN2 = ("skip", "cond", "orig", "resnet")
STYLEGAN3 = ("sg3t", "sg3r")
PROTOCOLS = (2, 3, 4, 5)
NAMESPACE = Call(Name("argparse", "Namespace"), (), state={"path": "x"}, new=True)
# The vector "skip" in the other containers and layouts.
OTHERS: dict[str, Callable[[], bytes]] = {
    "PTI in a zip archive": lambda: zipped(generator("skip")),
    "PTI as of old": lambda: legacy(generator("skip")),
    "rosinality": lambda: zipped(
        {"g_ema": rosinality(), "latent_avg": average(), "d": {}, "args": NAMESPACE}
    ),
    "rosinality as of old": lambda: legacy({"g_ema": rosinality(), "latent_avg": average()}),
    "e4e": lambda: zipped(
        {"state_dict": e4e_state(), "latent_avg": average().repeat(8, 1), "opts": {"lr": 0.1}}
    ),
}


def e4e_state() -> dict[str, torch.Tensor]:
    decoder = {f"decoder.{key}": value for key, value in rosinality().items()}
    return {"encoder.input.0.weight": torch.zeros(2), "encoder.count": torch.tensor(3), **decoder}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Generator]:
    """The generators of all vectors and layouts, imported once."""
    files = {name: pickled(snapshot(name)) for name in (*STYLEGAN2, *STYLEGAN3, "tf", "alis")}
    files |= {name: make() for name, make in OTHERS.items()}
    return {name: imported(tmp_path_factory.mktemp("file"), data) for name, data in files.items()}


def assert_same_picture(drawn: torch.Tensor, wanted: torch.Tensor) -> None:
    assert drawn.shape == wanted.shape
    assert (drawn - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("name", [*STYLEGAN2, *STYLEGAN3, *OTHERS])
def test_mapping_agrees_within_a_hundred_thousandth(opened: dict[str, Generator], name: str) -> None:
    generator, wanted = opened[name], reference("skip" if name in OTHERS else name)
    c = wanted["c"] if generator.c_dim else None
    for key, psi, cutoff in (("psi10", 1.0, None), ("psi07", 0.7, None), ("psi07_cut4", 0.7, 4)):
        if f"ws_{key}" in wanted:
            found = generator.mapping(wanted["z"], c, psi, cutoff)
            torch.testing.assert_close(found, wanted[f"ws_{key}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [*STYLEGAN2, *OTHERS])
def test_stylegan2_draws_the_reference_pictures(opened: dict[str, Generator], name: str) -> None:
    generator, wanted = opened[name], reference("skip" if name in OTHERS else name)
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


def test_a_tensorflow_generator_agrees_with_the_reference(opened: dict[str, Generator]) -> None:
    generator, wanted = opened["tf"], reference("tf")
    for key, psi in (("psi10", 1.0), ("psi05", 0.5)):
        ws = generator.mapping(wanted["z"], truncation_psi=psi)
        torch.testing.assert_close(ws, wanted[f"ws_{key}"], rtol=0, atol=1e-5)
        assert_same_picture(generator.synthesis(wanted[f"ws_{key}"]), wanted[f"img_const_{key}"])


def test_an_alis_agrees_with_the_reference(opened: dict[str, Generator]) -> None:
    generator, wanted = opened["alis"], reference("alis")
    torch.testing.assert_close(generator.mapping(wanted["zs"]), wanted["ws"], rtol=0, atol=1e-5)
    assert_same_picture(generator.panorama(wanted["ws"], 256)[0], wanted["panorama"])
    for border, frame in zip(wanted["left_borders"].tolist(), wanted["imgs_none"], strict=True):
        drawn = generator.panorama(wanted["ws"][:3], 32, left=border * 16)[0]
        assert_same_picture(drawn, frame)


@pytest.mark.parametrize("name", [*STYLEGAN2, *OTHERS])
def test_gradients_agree_within_a_ten_thousandth(opened: dict[str, Generator], name: str) -> None:
    generator, wanted = opened[name], reference("skip" if name in OTHERS else name)
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
@pytest.mark.parametrize("name", ["cond", "sg3r", "tf", "alis"])
def test_all_protocols_and_both_generations_of_numpy_give_the_same_weights(
    name: str, protocol: int, old: bool
) -> None:
    found, wanted = (read(memoryview(pickled(snapshot(name), *how, old=old))) for how in ((protocol,), ()))
    assert (found.meta, found.tensors.keys()) == (wanted.meta, wanted.tensors.keys())
    for key, weights in wanted.tensors.items():
        assert np.array_equal(found.tensors[key].floats(), weights.floats())


def test_a_generator_of_pixellift_is_imported_as_it_is(opened: dict[str, Generator], tmp_path: Path) -> None:
    first = opened["cond"].info.path
    report = ganworks.import_checkpoint(first, tmp_path / "again" / "generator.safetensors", label="Again")
    assert (report.format, report.label, report.c_dim) == ("PixelLift", "Again", 4)
    found = open_generator(tmp_path / "again").network.state_dict()
    assert all(torch.equal(value, found[key]) for key, value in opened["cond"].network.state_dict().items())
