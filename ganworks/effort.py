"""What a picture costs, told from a network's sizes: a file of a few bytes can describe one that no machine can draw."""

from collections.abc import Iterator

from torch import nn

from ganworks.networks import alis, stylegan2, stylegan3

# The published ones reach 1.7e8 numbers (StyleGAN3-R) and 3.8e11 multiplications (StyleGAN3-T), both at 1024 px.
MAX_MAP_NUMBERS = 2**29  # in one feature map: 2 GB
MAX_MULTIPLICATIONS = 4 * 10**12
# Of a draft. A 256 px generator of the published size takes 1.5e10, the 256 px block of a 1024 px one comes at 4.5e10.
MAX_DRAFT_MULTIPLICATIONS = 48 * 10**9
PANORAMA_FRAMES = 3  # are seen at once, and share a draft's multiplications

Generator = stylegan2.Generator | stylegan3.Generator | alis.Generator


def check_effort(network: nn.Module) -> None:
    """ValueError if one picture needs far more memory or time than one of any published generator."""
    if not isinstance(network, Generator):
        raise TypeError(f"{type(network).__name__} is not a generator.")
    layers = list(_planned(network) if isinstance(network, stylegan3.Generator) else _doubling(network))
    largest, total = max(numbers for numbers, _ in layers), sum(count for _, count in layers)
    if largest > MAX_MAP_NUMBERS:
        raise ValueError(f"a layer has {largest:.0e} numbers, where {MAX_MAP_NUMBERS:.0e} are the most")
    if total > MAX_MULTIPLICATIONS:
        raise ValueError(
            f"a picture takes {total:.0e} multiplications, where {MAX_MULTIPLICATIONS:.0e} are the most"
        )


def multiplications(network: nn.Module) -> int:
    """What a picture of this network takes."""
    if not isinstance(network, Generator):
        raise TypeError(f"{type(network).__name__} is not a generator.")
    layers = _planned(network) if isinstance(network, stylegan3.Generator) else _doubling(network)
    return sum(count for _, count in layers)


def draft_resolution(network: nn.Module, most: int | None = None) -> int:
    """
    How large the pictures are that this network can draw while somebody waits. ALIS and the skip architecture of
    StyleGAN2 add up colours from block to block, so they may stop at a lower resolution; the others draw the whole, or
    nothing.
    """
    if not isinstance(network, Generator):
        raise TypeError(f"{type(network).__name__} is not a generator.")
    if isinstance(network, stylegan3.Generator) or getattr(network, "architecture", "skip") != "skip":
        return network.resolution
    synthesis = network.synthesis
    most = most or MAX_DRAFT_MULTIPLICATIONS
    most //= PANORAMA_FRAMES if isinstance(network, alis.Generator) else 1
    total, affordable = 0, int(synthesis.block_resolutions[0])
    for r in synthesis.block_resolutions:
        total += sum(count for _, count in _convolutions(getattr(synthesis, f"b{r}"), r))
        if total <= most:
            affordable = int(r)
    return affordable


def _planned(network: stylegan3.Generator) -> Iterator[tuple[int, int]]:
    """The numbers in the largest feature map of each layer, and its multiplications: convolution and both filters."""
    for layer in network.synthesis.plan.layers:
        into = (layer.in_size[0] + layer.kernel - 1) * (layer.in_size[1] + layer.kernel - 1)
        out = layer.out_size[0] * layer.out_size[1]
        raised = (layer.out_size[0] * layer.down + layer.down_taps) * (
            layer.out_size[1] * layer.down + layer.down_taps
        )
        phase = raised // layer.up**2
        count = layer.inputs * layer.outputs * layer.kernel**2 * into
        count += (
            layer.outputs * (raised * (layer.up_taps / layer.up) ** 2 + out * layer.down_taps**2).__ceil__()
        )
        yield max(layer.inputs * into, layer.outputs * max(into, phase, out)), count


def _doubling(network: stylegan2.Generator | alis.Generator) -> Iterator[tuple[int, int]]:
    """The same for networks of blocks at 4, 8, 16, ... pixels."""
    for r in network.synthesis.block_resolutions:
        yield from _convolutions(getattr(network.synthesis, f"b{r}"), r)


def _convolutions(block: nn.Module, r: int) -> Iterator[tuple[int, int]]:
    """The same for the two convolutions of a block, of which the first doubles the size, or the one of the first block."""
    for name, side in (("conv0", r // 2), ("conv1", r)):
        if hasattr(block, name):
            weight = getattr(block, name).weight
            yield max(weight.shape[0] * r**2, weight.shape[1] * side**2), weight.numel() * side**2
