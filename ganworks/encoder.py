"""Encoders: from a picture to its latent in one pass, as a draft that a projection starts from.

    encoder = ganworks.open_encoder("portraits")
    ws = encoder(picture)                       # [N, 3, H, W] in [-1, 1] -> [N, num_ws, w_dim]
    ws = ganworks.encode("portraits", picture)  # the same, for a single time

An encoder lies beside its generator as encoder.safetensors, and carries its generator's SHA-256.
`python -m ganworks.training.encoding` trains one.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ganworks import checkpoint
from ganworks.devices import choose_device, plain_memory_errors
from ganworks.errors import EncoderMismatch, InvalidInput
from ganworks.info import ENCODER_FILE, MAX_DIM, locate
from ganworks.networks.encoder import EncoderNetwork

if TYPE_CHECKING:
    from ganworks.generator import Generator

ARCHITECTURE = "residual-rows"
MAX_INPUT_PX = 256
MAX_ROWS = 64
MAX_WIDTH = 1024


class Encoder:
    """A network that guesses latents, frozen. One object serves any number of threads."""

    def __init__(self, network: EncoderNetwork, generator_sha256: str, device: torch.device) -> None:
        self.network = network.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]  # torch's types know this pair of arguments only one by one
        self.generator_sha256, self.device = generator_sha256, device
        self.input_px, self.num_ws, self.w_dim = network.input_px, network.num_ws, network.w_dim

    @property
    def num_parameters(self) -> int:
        """How many numbers were learned."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def __call__(self, pictures: Tensor) -> Tensor:
        """
        Square pictures [N, 3, H, H] in [-1, 1], of any size, to ws [N, num_ws, w_dim]. What the generator pads must be
        there (`Generator.pad`). The network looks at no more than `input_px` pixels along an edge.
        """
        if pictures.ndim != 4 or pictures.shape[1] != 3 or pictures.shape[2] != pictures.shape[3]:
            raise InvalidInput(
                f"An encoder takes square pictures as [N, 3, H, H], and this has the shape {list(pictures.shape)}."
            )
        with torch.no_grad(), plain_memory_errors():
            small = reduced(pictures.to(self.device, torch.float32).clamp(-1, 1), self.input_px)
            ws: Tensor = self.network(small)
        return ws

    def check_generator(self, sha256: str) -> None:
        """EncoderMismatch if this is the encoder of another generator."""
        if self.generator_sha256 != sha256:
            raise EncoderMismatch("This encoder belongs to another generator. Train one for this generator.")


def reduced(pictures: Tensor, side_px: int) -> Tensor:
    """[N, 3, H, H] to [N, 3, side_px, side_px]: area averages, or bilinear enlargement."""
    side = pictures.shape[-1]
    if side == side_px:
        return pictures
    if side % side_px == 0:
        return F.avg_pool2d(pictures, side // side_px)
    return F.interpolate(
        pictures, size=(side_px, side_px), mode="bilinear", align_corners=False, antialias=side > side_px
    )


def input_px_for(generator: "Generator") -> int:
    """What an encoder of this generator should look at: the largest power of two within its pictures and 256."""
    resolution: int = generator.resolution
    return max(8, min(MAX_INPUT_PX, 1 << (resolution.bit_length() - 1)))


def open_encoder(path_or_name: str | Path, device: str = "cpu") -> Encoder:
    """
    An encoder from its file, its generator's folder, or a starter's name. EncoderNotFound if there is none,
    CheckpointError if the file is damaged or lies about itself.
    """
    return load_encoder(locate(path_or_name, ENCODER_FILE), choose_device(device))


def load_encoder(path: Path, device: torch.device) -> Encoder:
    """Read encoder.safetensors; CheckpointError if it is damaged or something else."""
    header = checkpoint.read_header(path, "encoder")
    if header.text("architecture") != ARCHITECTURE:
        raise checkpoint.damaged(
            header.name, f"its architecture {header.text('architecture')[:40]!r} is not known here"
        )
    sizes = {
        "input_px": header.integer("input_px", 8, MAX_INPUT_PX),
        "num_ws": header.integer("num_ws", 1, MAX_ROWS),
        "w_dim": header.integer("w_dim", 1, MAX_DIM),
        "channels": header.integer("channels", 1, MAX_WIDTH),
        "channel_max": header.integer("channel_max", 1, MAX_WIDTH),
        "hidden": header.integer("hidden", 1, MAX_DIM),
    }
    with torch.device("meta"):
        try:
            network = EncoderNetwork(**sizes)
        except ValueError as error:
            raise checkpoint.damaged(header.name, f"its sizes do not fit together ({error})") from error
    checkpoint.check_shapes(header, {key: tuple(value.shape) for key, value in network.state_dict().items()})
    with plain_memory_errors():
        network.load_state_dict(checkpoint.read_tensors(path, header), assign=True)
        return Encoder(network, header.text("generator_sha256"), device)


def save_encoder(network: EncoderNetwork, path: str | Path, *, generator_sha256: str, **meta: Any) -> None:
    """
    Write a network as encoder.safetensors in half precision, all but the mean and the axes of w. `meta` adds label,
    license and the like.
    """
    exact = dict(network.named_buffers())
    tensors = {key: value if key in exact else value.half() for key, value in network.state_dict().items()}
    sizes = {
        "architecture": ARCHITECTURE,
        "input_px": network.input_px,
        "num_ws": network.num_ws,
        "w_dim": network.w_dim,
        "channels": network.channels,
        "channel_max": network.channel_max,
        "hidden": network.hidden,
        "generator_sha256": generator_sha256,
    }
    checkpoint.write(path, "encoder", {**sizes, **meta}, tensors)


def encode(path_or_name: str | Path, pictures: Tensor, device: str = "cpu") -> Tensor:
    """
    The latents [N, num_ws, w_dim] of pictures [N, 3, H, H] in [-1, 1], by the encoder of that name. To encode more
    than once, keep what `open_encoder` gives.
    """
    return open_encoder(path_or_name, device)(pictures)
