"""What tuning changed in a generator's weights, small enough to be kept with a picture.

Small parameters (biases, colours, styles of narrow networks) are kept whole. A large one [O, ...] is kept as two factors of
low rank, [O, r] and [r, I], whose product is its change (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models",
arXiv 2106.09685, section 4.1; a kernel [O, I, k, k] counts as a matrix [O, I k k]). The rank is the largest, up to
`MAX_RANK`, with which everything fits. All numbers are of half precision.
"""

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ganworks import checkpoint
from ganworks.errors import BasisMismatch, InvalidInput

MAX_BYTES = 2_000_000  # of a file, whatever the generator's size
MAX_NUMBERS = (MAX_BYTES - 65_536) // 2  # two bytes each; the rest is for the header
SMALL = 4096  # numbers: what is no larger is kept whole
MAX_RANK = 16  # measured: see docs/engine.md
LARGEST_CHANGE = 60_000.0  # what half precision can hold
TUNED_PART = "synthesis."  # w keeps its meaning: the mapping is left alone
WHOLE, LEFT, RIGHT = ".whole", ".left", ".right"


@dataclass(frozen=True)
class Difference:
    """
    tensors: for a parameter named KEY, either KEY.whole (of its shape), or KEY.left [O, r] and KEY.right [r, I].
    generator_sha256: whose weights they are added to.
    """

    tensors: dict[str, Tensor]
    generator_sha256: str

    def check_generator(self, sha256: str) -> None:
        """BasisMismatch if this belongs to another generator."""
        if self.generator_sha256 != sha256:
            raise BasisMismatch(
                "This tuning belongs to another generator. Tune the generator that is open for the picture again."
            )

    def save(self, target: checkpoint.Source, meta: Mapping[str, Any]) -> None:
        """Write to a path or an open binary file, with what else its header shall say."""
        tensors = {key: value.half() for key, value in self.tensors.items()}
        checkpoint.write(target, "tuning", {**meta, "generator_sha256": self.generator_sha256}, tensors)

    @classmethod
    def load(cls, source: checkpoint.Source) -> tuple["Difference", checkpoint.Header]:
        """Read from a path or an open binary file; CheckpointError if it is damaged or something else."""
        header = checkpoint.read_header(source, "tuning")
        check_parts(header, header.shapes)
        return cls(checkpoint.read_tensors(source, header), header.text("generator_sha256")), header


def check_parts(header: checkpoint.Header, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """CheckpointError if those tensors of a file are no difference, or a larger one than is ever written."""
    if sum(math.prod(shape) for shape in shapes.values()) > MAX_NUMBERS:
        raise checkpoint.damaged(header.name, f"its tuning would be larger than {MAX_BYTES} bytes")
    for key, shape in shapes.items():
        if not _is_part(key, shape, shapes):
            raise checkpoint.damaged(header.name, f"{key[:80]!r} is no change of a parameter")


def _is_part(key: str, shape: tuple[int, ...], shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Whether a tensor of a file is a whole change, or a factor whose other factor is there and fits."""
    name, kind = _split(key)
    both = shapes.get(name + LEFT, ()), shapes.get(name + RIGHT, ())
    if kind == WHOLE:
        return both == ((), ())
    return kind in (LEFT, RIGHT) and len(both[0]) == len(both[1]) == 2 and both[0][1] == both[1][0]


def _split(key: str) -> tuple[str, str]:
    name, dot, kind = key.rpartition(".")
    return name, dot + kind


def blank(network: nn.Module, random: torch.Generator, max_rank: int = MAX_RANK) -> dict[str, Tensor]:
    """
    The tensors of a difference that changes nothing yet, and can be trained: left factors are 0, right ones random.
    Parameters that find no room are left out, the largest first.
    """
    shapes = {
        key: tuple(value.shape)
        for key, value in network.named_parameters()
        if key.startswith(TUNED_PART) and value.numel()
    }
    device = next(network.parameters()).device
    tensors: dict[str, Tensor] = {}
    room, rank = MAX_NUMBERS, _rank_that_fits(shapes, max_rank)
    for key, shape in sorted(shapes.items(), key=lambda entry: math.prod(entry[1])):
        numbers = _numbers(shape, rank)
        if not 0 < numbers <= room:
            continue
        room -= numbers
        if numbers == math.prod(shape):
            tensors[key + WHOLE] = torch.zeros(shape, device=device)
        else:
            right = torch.randn(rank, math.prod(shape[1:]), generator=random) / math.sqrt(rank)
            tensors[key + LEFT] = torch.zeros(shape[0], rank, device=device)
            tensors[key + RIGHT] = right.to(device)
    return tensors


def _numbers(shape: tuple[int, ...], rank: int) -> int:
    """How many numbers the change of a parameter takes; 0 where it is not changed."""
    whole = math.prod(shape)
    factors = rank * (shape[0] + whole // shape[0]) if len(shape) > 1 else whole
    return whole if whole <= SMALL else min(whole, factors)


def _rank_that_fits(shapes: Mapping[str, tuple[int, ...]], most: int) -> int:
    """The largest rank with which all parameters together fit; 1 if none does."""
    ranks = range(most, 1, -1)
    fit = (rank for rank in ranks if sum(_numbers(s, rank) for s in shapes.values()) <= MAX_NUMBERS)
    return next(fit, 1)


def rounded(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a difference as a file holds them: what half precision keeps of them, as float32."""
    return {
        key: value.detach().clamp(-LARGEST_CHANGE, LARGEST_CHANGE).half().float()
        for key, value in tensors.items()
    }


def changes(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """The names of changed parameters, each with what is added to it, [O, I k k] or as it is; gradients flow."""
    for key, value in tensors.items():
        name, kind = _split(key)
        if kind == WHOLE:
            yield name, value
        elif kind == LEFT:
            yield name, value @ tensors[name + RIGHT]


def changed(parameter: Tensor, change: Tensor) -> Tensor:
    """A parameter [O, ...] with its change; InvalidInput if their sizes do not fit together."""
    table = (parameter.shape[0], parameter[0].numel()) if parameter.ndim > 1 else parameter.shape
    if change.shape not in (parameter.shape, table):
        raise InvalidInput("This tuning has other sizes than the generator. Tune the generator again.")
    return parameter + change.reshape(parameter.shape)


# --- Networks that draw with a difference -------------------------------------------------------------------


def unfrozen(network: nn.Module) -> nn.Module:
    """
    A network with the same weights in the same memory, whose plain definitions draw, so that gradients can reach changed
    weights. The one that was given stays frozen.
    """
    view = _view(network)
    for module in view.modules():
        _forget(module)
    return view


def applied(network: nn.Module, difference: Difference) -> nn.Module:
    """A frozen network with a difference added. What is not changed lies in the same memory as before."""
    view = _view(network)
    modules = dict(view.named_modules())
    with torch.no_grad():
        for name, change in changes(difference.tensors):
            path, _, own = name.rpartition(".")
            module = modules.get(path) if name.startswith(TUNED_PART) else None
            parameter = module._parameters.get(own) if module is not None else None
            if module is None or parameter is None:
                raise InvalidInput("This tuning is of another network than the generator's. Tune it again.")
            weights = changed(parameter, change.to(parameter.device))
            setattr(module, own, nn.Parameter(weights, requires_grad=False))
            if own == "weight" and _forget(module):
                module.freeze()
    return view


def _view(network: nn.Module) -> nn.Module:
    """A copy of the modules that shares all tensors."""
    tensors: list[Any] = [*network.parameters(), *network.buffers()]
    return copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})


def _forget(module: nn.Module) -> bool:
    """Drop what a frozen layer keeps of its weights; whether there was anything."""
    kept = [key for key, value in module._buffers.items() if key.startswith("frozen_") and value is not None]
    for key in kept:
        module._buffers[key] = None
    return bool(kept)
