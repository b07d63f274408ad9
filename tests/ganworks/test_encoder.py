"""Encoders: from a picture to a latent in one pass, and back from a file that may lie."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

import ganworks
from ganworks.encoder import Encoder, input_px_for, load_encoder, reduced, save_encoder
from ganworks.generator import Generator, save_generator
from ganworks.library import Library
from ganworks.networks.encoder import EncoderNetwork

from .conftest import small_network
from .test_checkpoint import change_meta

CPU = torch.device("cpu")


def small_encoder(seed: int = 0, **changes: int) -> EncoderNetwork:
    """An encoder for the small generator, which already says something."""
    torch.manual_seed(seed)
    sizes = {"input_px": 32, "num_ws": 8, "w_dim": 24, "channels": 8, "channel_max": 16, "hidden": 16}
    network = EncoderNetwork(**{**sizes, **changes})
    for layer in (network.shared, network.rows):
        torch.nn.init.normal_(layer.weight, std=0.1)
    network.mean.normal_()
    return network


@pytest.fixture
def file(generator: Generator) -> Path:
    """The small generator's encoder, beside it."""
    path = generator.info.path.with_name("encoder.safetensors")
    save_encoder(small_encoder(), path, generator_sha256=generator.sha256, label="Small")
    return path


def pictures(count: int = 2, side: int = 32) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("side", [16, 32, 40, 128])
def test_pictures_of_any_size_become_a_row_for_each_layer(file: Path, side: int) -> None:
    ws = ganworks.open_encoder(file)(pictures(2, side))
    assert ws.shape == (2, 8, 24)
    assert bool(ws.isfinite().all())
    assert not ws.requires_grad


def test_a_new_network_guesses_the_mean_of_w() -> None:
    network = EncoderNetwork(32, 8, 24, channels=8, channel_max=16, hidden=16)
    network.mean.normal_()
    torch.testing.assert_close(network(pictures()), network.mean.expand(2, 8, 24))


def test_each_picture_is_encoded_by_itself_and_differently(file: Path) -> None:
    encoder = ganworks.open_encoder(file)
    both = encoder(pictures())
    torch.testing.assert_close(both[:1], encoder(pictures()[:1]))
    assert (both[0] - both[1]).abs().max() > 1e-3


def test_what_is_written_in_half_precision_says_nearly_the_same(file: Path) -> None:
    before = Encoder(small_encoder(), "", CPU)
    after = ganworks.open_encoder(file.parent)
    torch.testing.assert_close(after(pictures()), before(pictures()), rtol=1e-2, atol=1e-2)
    assert torch.equal(after.network.mean, before.network.mean)
    assert after.num_parameters == before.num_parameters


def test_the_door_encodes_by_a_folder(file: Path) -> None:
    assert torch.equal(ganworks.encode(file.parent, pictures()), ganworks.open_encoder(file)(pictures()))


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (1, 3, 32, 16)])
def test_what_is_no_square_picture_is_refused(file: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ganworks.InvalidInput, match=r"\[N, 3, H, H\]"):
        ganworks.open_encoder(file)(torch.zeros(shape))


def test_a_generator_without_an_encoder_says_how_to_train_one(generator: Generator) -> None:
    with pytest.raises(ganworks.EncoderNotFound, match=r"python -m ganworks\.training\.encoding"):
        ganworks.open_encoder(generator.info.path.parent)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "other"}, "architecture"),
        ({"kind": "critic"}, "a critic"),
        ({"input_px": 24}, "power of two"),
        ({"input_px": 4096}, "input_px"),
        ({"channels": 12}, "multiples of 8"),
        ({"w_dim": 25}, "shape"),
        ({"num_ws": 9}, "shape"),
        ({"hidden": True}, "hidden"),
    ],
)
def test_a_file_that_lies_about_itself_is_refused(file: Path, change: dict[str, Any], message: str) -> None:
    change_meta(file, **change)
    with pytest.raises(ganworks.CheckpointError, match=message):
        load_encoder(file, CPU)


def test_a_library_loads_an_encoder_once_and_counts_it(file: Path) -> None:
    library = Library([file.parent.parent], device="cpu")
    encoder = library.encoder("small")
    assert encoder is not None
    assert encoder is library.open_encoder("small")
    assert library.loaded_bytes == file.stat().st_size


def test_a_generator_without_an_encoder_has_none(folder: Path) -> None:
    assert Library([folder], device="cpu").encoder("small") is None


def test_an_encoder_of_another_generator_is_not_used(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_generator(small_network(seed=5), file.with_name("generator.safetensors"), label="New")
    with caplog.at_level(logging.WARNING):
        assert Library([file.parent.parent], device="cpu").encoder("small") is None
    assert "belongs to another generator" in caplog.text
    with pytest.raises(ganworks.EncoderMismatch, match="another generator"):
        ganworks.open_encoder(file).check_generator(ganworks.open_generator(file.parent).sha256)


def test_pictures_are_reduced_by_area_and_enlarged_smoothly() -> None:
    large = pictures(1, 64)
    torch.testing.assert_close(reduced(large, 32), torch.nn.functional.avg_pool2d(large, 2))
    assert reduced(large, 64) is large
    assert reduced(large, 48).shape == (1, 3, 48, 48)
    assert reduced(large, 128).abs().max() <= 1


def test_an_encoder_looks_at_as_much_as_there_is_up_to_256_pixels(generator: Generator) -> None:
    assert input_px_for(generator) == 32
    generator.resolution = 1024
    assert input_px_for(generator) == 256


def test_sizes_that_no_network_has_are_refused() -> None:
    with pytest.raises(ValueError, match="power of two"):
        small_encoder(input_px=4)
    with pytest.raises(ValueError, match="multiples of 8"):
        small_encoder(channels=4)
