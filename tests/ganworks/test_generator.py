"""A generator as its users see it."""

from pathlib import Path

import numpy as np
import pytest
import torch

import ganworks
from ganworks.checkpoint import read_header, read_tensors, write
from ganworks.generator import Generator, open_generator, save_generator
from ganworks.networks.stylegan2 import ARCHITECTURES
from ganworks.networks.stylegan2 import Generator as Network

from .conftest import small_network


def test_a_seed_gives_the_latent_that_the_public_tools_give(generator: Generator) -> None:
    expected = np.random.RandomState(7).randn(1, 16).astype(np.float32)
    assert np.array_equal(generator.latents([7]).numpy(), expected)


def test_latents_of_seeds_do_not_depend_on_their_company(generator: Generator) -> None:
    assert torch.equal(generator.latents([3, 9])[1:], generator.latents([9]))
    assert generator.latents([]).shape == (0, 16)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(generator: Generator, seed: int) -> None:
    with pytest.raises(ganworks.InvalidInput, match="seed"):
        generator.latents([seed])


def test_pictures_have_the_promised_shape_and_type(generator: Generator) -> None:
    ws = generator.mapping(generator.latents(range(10)))
    pictures = generator.synthesis(ws)
    assert ws.shape == (10, generator.num_ws, generator.w_dim) == (10, 8, 24)
    assert (pictures.shape, pictures.dtype) == ((10, 3, 32, 32), torch.float32)
    assert generator.synthesis(ws[:0]).shape == (0, 3, 32, 32)


def test_a_picture_does_not_depend_on_its_company(generator: Generator) -> None:
    ws = generator.mapping(generator.latents(range(9)))
    torch.testing.assert_close(generator.synthesis(ws)[8:], generator.synthesis(ws[8:]), rtol=1e-4, atol=1e-4)


def test_a_draft_of_a_quick_generator_is_the_picture(generator: Generator) -> None:
    ws = generator.mapping(generator.latents([1, 2]))
    assert generator.draft_resolution == generator.resolution
    assert torch.equal(generator.draft(ws), generator.synthesis(ws))


def test_a_draft_of_a_slow_generator_is_what_its_first_blocks_draw(generator: Generator) -> None:
    generator.draft_resolution = 16
    ws = generator.mapping(generator.latents([1]))
    small = Network(16, 24, 16, num_layers=2, channel_base=256, channel_max=16)
    weights = {key: value for key, value in generator.network.state_dict().items() if ".b32." not in key}
    small.load_state_dict(weights)
    drawn = generator.draft(ws, "random", noise_seed=3)
    assert drawn.shape == (1, 3, 16, 16)
    wanted = small.synthesis(ws[:, :6], "random", random=torch.Generator().manual_seed(3))
    torch.testing.assert_close(drawn, wanted, rtol=1e-4, atol=1e-4)
    assert generator.draft(ws[:0]).shape == (0, 3, 16, 16)


def test_truncation_moves_toward_the_average_and_psi_0_is_the_average(generator: Generator) -> None:
    z = generator.latents([1])
    assert torch.allclose(generator.mapping(z, truncation_psi=0)[0], generator.w_avg.expand(8, -1))
    full, cut = generator.mapping(z), generator.mapping(z, truncation_psi=0.5, truncation_cutoff=3)
    assert torch.allclose(cut[:, 3:], full[:, 3:])
    assert torch.allclose(cut[:, :3], (full[:, :3] + generator.w_avg) / 2)


def test_const_noise_repeats_and_random_noise_repeats_only_with_its_seed(generator: Generator) -> None:
    ws = generator.mapping(generator.latents([1]))
    assert torch.equal(generator.synthesis(ws), generator.synthesis(ws))
    random = [generator.synthesis(ws, "random", noise_seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(random[0], random[1])
    assert not torch.equal(random[0], random[2])
    assert not torch.equal(generator.synthesis(ws, "none"), generator.synthesis(ws))


def test_noise_maps_replace_the_stored_ones(generator: Generator) -> None:
    ws = generator.mapping(generator.latents([1]))
    quiet = {key: value * 0 for key, value in generator.network.synthesis.noise_buffers().items()}
    torch.testing.assert_close(generator.synthesis(ws, noise=quiet), generator.synthesis(ws, "none"))


def test_each_picture_of_a_pass_may_have_noise_maps_of_its_own(generator: Generator) -> None:
    ws = generator.mapping(generator.latents(range(9)))  # more than go through the network at once
    buffers = generator.network.noise_buffers()
    own = {key: torch.randn(9, 1, *value.shape) for key, value in buffers.items()}
    together = generator.synthesis(ws, noise=own)
    for index in (0, 8):
        alone = generator.synthesis(
            ws[index : index + 1], noise={key: value[index, 0] for key, value in own.items()}
        )
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-4, atol=1e-4)
    with pytest.raises(ganworks.InvalidInput, match="all 2 pictures, or one for each"):
        generator.synthesis(ws[:2], noise=own)


def test_noise_maps_of_another_generator_are_refused(generator: Generator) -> None:
    ws = generator.mapping(generator.latents([1]))
    for noise in (
        {"b64.conv0.noise_const": torch.zeros(64, 64)},
        {"b4.conv1.noise_const": torch.zeros(5, 5)},
    ):
        with pytest.raises(ganworks.InvalidInput, match="another generator"):
            generator.synthesis(ws, noise=noise)


def test_wrong_shapes_are_refused_with_the_right_one(generator: Generator) -> None:
    with pytest.raises(ganworks.InvalidInput, match=r"\[N, 16\]"):
        generator.mapping(torch.zeros(1, 15))
    with pytest.raises(ganworks.InvalidInput, match=r"\[N, 8, 24\]"):
        generator.synthesis(torch.zeros(1, 7, 24))
    with pytest.raises(ganworks.InvalidInput, match="noise mode"):
        generator.synthesis(torch.zeros(1, 8, 24), "loud")
    with pytest.raises(ganworks.InvalidInput, match="cutoff"):
        generator.mapping(torch.zeros(1, 16), truncation_cutoff=-1)


def test_results_can_be_used_with_gradients_afterwards(generator: Generator) -> None:
    scale = torch.ones(1, requires_grad=True)
    total = (generator.synthesis(generator.mapping(generator.latents([1]))) * scale).sum()
    assert torch.autograd.grad(total, scale)[0].isfinite()


def test_a_conditional_generator_asks_for_a_class(tmp_path: Path) -> None:
    save_generator(small_network(c_dim=3), tmp_path / "c.safetensors", label="C", classes=["a", "b", "c"])
    generator = open_generator(tmp_path / "c.safetensors")
    assert generator.info.classes == ("a", "b", "c")
    z = generator.latents([1])
    with pytest.raises(ganworks.InvalidInput, match="class"):
        generator.mapping(z)
    a, b = (generator.mapping(z, torch.eye(3)[row : row + 1]) for row in (0, 1))
    assert not torch.allclose(a, b)


def test_a_saved_generator_draws_the_same_pictures(tmp_path: Path) -> None:
    network = small_network()
    z = torch.randn(1, 16)
    with torch.no_grad():
        expected = network(z)
    save_generator(network, tmp_path / "g.safetensors", label="G")
    generator = ganworks.open_generator(tmp_path / "g.safetensors")
    torch.testing.assert_close(generator.synthesis(generator.mapping(z)), expected, rtol=1e-4, atol=1e-4)
    assert generator.num_parameters == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_generator_keeps_its_architecture(tmp_path: Path, architecture: str) -> None:
    torch.manual_seed(0)
    network = Network(16, 24, 32, num_layers=2, channel_base=256, channel_max=16, architecture=architecture)
    z = torch.randn(1, 16)
    with torch.no_grad():
        expected = network(z)
    save_generator(network, tmp_path / "g.safetensors", label="G")
    assert read_header(tmp_path / "g.safetensors").text("synthesis_architecture") == architecture
    generator = open_generator(tmp_path / "g.safetensors")
    torch.testing.assert_close(generator.synthesis(generator.mapping(z)), expected, rtol=1e-4, atol=1e-4)


def test_a_file_that_names_no_architecture_has_skip_connections(tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    save_generator(small_network(), path, label="G")
    header = read_header(path)
    meta = {key: value for key, value in header.meta.items() if key != "synthesis_architecture"}
    write(path, "generator", meta, read_tensors(path, header))
    assert open_generator(path).network.architecture == "skip"


def test_a_generator_of_an_unknown_architecture_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    save_generator(small_network(), path, label="G", synthesis_architecture="dense")
    with pytest.raises(ganworks.CheckpointError, match="one of skip, orig, resnet"):
        open_generator(path)


def test_a_generator_that_does_not_exist_is_said_to_be_missing() -> None:
    with pytest.raises(ganworks.GeneratorNotFound, match="no generator 'nobody'"):
        ganworks.open_generator("nobody")
