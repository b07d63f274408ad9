"""The directions in W that sliders move along: principal components, and closed-form factors.

Principal components are where latents differ most. Source: Härkönen et al., "GANSpace: Discovering Interpretable
GAN Controls" (arXiv 2004.02546), section 2.1. The covariance is summed in float64 over batches, so any number of
samples fits in memory, and is exact.

Closed-form factors are where the network's own weights react most, whatever latents do. Source: Shen and Zhou,
"Closed-Form Factorization of Latent Semantics in GANs" (arXiv 2007.06600), section 3.

    python -m ganworks.components PATH_OF_A_GENERATOR [--samples 100000]
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganworks import checkpoint
from ganworks.directions import check_header, check_owner
from ganworks.errors import GanworksError, InvalidInput
from ganworks.info import COMPONENTS_FILE, FACTORS_FILE

if TYPE_CHECKING:
    from ganworks.generator import Generator

BATCH = 4096
PRINCIPAL, CLOSED_FORM = "principal", "closed-form"
METHODS = (PRINCIPAL, CLOSED_FORM)


@dataclass(frozen=True)
class Basis:
    """
    mean [w_dim]; components [K, w_dim], rows of length 1, strongest first; stdev [K], the spread of w along
    each; variance_share [K], parts of the whole variance (for closed-form factors: of the weights' whole
    reaction). names: K labels. generator_sha256: whose W this is.
    """

    mean: Tensor
    components: Tensor
    stdev: Tensor
    variance_share: Tensor
    names: list[str]
    generator_sha256: str
    samples: int = 0
    seed: int = 0
    method: str = PRINCIPAL

    def __len__(self) -> int:
        return self.components.shape[0]

    def step(self, component: int) -> Tensor:
        """One sigma along a component: [w_dim]."""
        return self.components[component] * self.stdev[component]

    def rename(self, names: Mapping[int, str]) -> None:
        """Call directions, by their numbers from 0, what somebody saw them change. InvalidInput if there is no such one."""
        for index, name in names.items():
            if not 0 <= index < len(self):
                raise InvalidInput(f"There is no direction {index}: they go from 0 to {len(self) - 1}.")
            self.names[index] = name

    def check_generator(self, sha256: str) -> None:
        """BasisMismatch if these are the components of another generator."""
        check_owner(self.generator_sha256, sha256)

    def save(self, target: checkpoint.Source) -> None:
        """Write components.safetensors."""
        meta = {
            "generator_sha256": self.generator_sha256,
            "names": self.names,
            "samples": self.samples,
            "seed": self.seed,
            "method": self.method,
        }
        checkpoint.write(
            target,
            "components",
            meta,
            {
                "mean": self.mean,
                "components": self.components,
                "stdev": self.stdev,
                "variance_share": self.variance_share,
            },
        )


def open_basis(source: checkpoint.Source) -> Basis:
    """Read components.safetensors; CheckpointError if it is damaged or something else."""
    header = checkpoint.read_header(source, "components")
    _, _, names = check_header(header)
    method = header.text("method", PRINCIPAL)
    if method not in METHODS:
        raise checkpoint.damaged(header.name, "its header does not say how its components were found")
    tensors = checkpoint.read_tensors(source, header)
    return Basis(
        mean=tensors["mean"],
        components=tensors["components"],
        stdev=tensors["stdev"],
        variance_share=tensors["variance_share"],
        names=names,
        generator_sha256=header.text("generator_sha256"),
        samples=header.integer("samples", 0, 2**53, 0),
        seed=header.integer("seed", 0, 2**32 - 1, 0),
        method=method,
    )


@torch.no_grad()
def principal_components(
    generator: "Generator",
    samples: int = 100_000,
    seed: int = 0,
    count: int | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Basis:
    """
    Sample `samples` latents of a seed, map them to w, and find the principal components (the first `count`,
    or all). The same arguments give the same basis: components are ordered by their spread, and the
    coordinate of largest magnitude of each is positive. `on_progress` is told the part that is done, and may
    raise to stop.
    """
    count = _checked(generator, samples, count)
    mean, covariance = _moments(generator, samples, seed, on_progress)
    variance, rows = _eigenvectors(covariance)
    return Basis(
        mean=mean.float(),
        components=rows[:count].float().contiguous(),
        stdev=variance[:count].sqrt().float(),
        variance_share=(variance / variance.sum().clamp(min=1e-30))[:count].float(),
        names=[f"Component {index + 1}" for index in range(count)],
        generator_sha256=generator.sha256,
        samples=samples,
        seed=seed,
    )


@torch.no_grad()
def closed_form_factors(
    generator: "Generator", count: int = 64, samples: int = 20_000, seed: int = 0
) -> Basis:
    """
    The first `count` eigenvectors of the product of the weights that turn w into styles, taken over all layers,
    each layer's weights scaled to count alike. Their spread (`stdev`) is that of `samples` latents, so that a
    strength means as much as along a principal component. The same arguments give the same basis.
    """
    count = _checked(generator, samples, min(count, generator.w_dim))
    mean, covariance = _moments(generator, samples, seed)
    reaction = torch.zeros_like(covariance)
    for _, affine in generator.network.affines():
        weight = affine.weight.detach().cpu().double()  # [styles, W]
        reaction += weight.t() @ weight / weight.square().sum().clamp(min=1e-30)
    strength, rows = _eigenvectors(reaction)
    rows = rows[:count]
    variance = ((rows @ covariance) * rows).sum(dim=1).clamp(min=0)
    return Basis(
        mean=mean.float(),
        components=rows.float().contiguous(),
        stdev=variance.sqrt().float(),
        variance_share=(strength / strength.sum().clamp(min=1e-30))[:count].float(),
        names=[f"Factor {index + 1}" for index in range(count)],
        generator_sha256=generator.sha256,
        samples=samples,
        seed=seed,
        method=CLOSED_FORM,
    )


def _checked(generator: "Generator", samples: int, count: int | None) -> int:
    count = generator.w_dim if count is None else count
    if samples < 2:
        raise InvalidInput("Directions need at least two samples.")
    if not 1 <= count <= generator.w_dim:
        raise InvalidInput(f"The number of directions must be from 1 to {generator.w_dim}.")
    return count


def _eigenvectors(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """
    Eigenvalues [W] from the largest on, none below 0, and their vectors as rows [W, W]; the coordinate of
    largest magnitude of each is positive.
    """
    values, vectors = torch.linalg.eigh(matrix)  # ascending; columns
    rows = vectors.flip(1).t()
    largest = rows.gather(1, rows.abs().argmax(dim=1, keepdim=True))  # [W, 1]
    return values.flip(0).clamp(min=0), rows * torch.where(largest < 0, -1.0, 1.0)


def _moments(
    generator: "Generator", samples: int, seed: int, on_progress: Callable[[float], None] | None = None
) -> tuple[Tensor, Tensor]:
    """Mean [W] and covariance [W, W] of w in float64, in one pass around a first estimate of the mean."""
    random = torch.Generator().manual_seed(seed)
    center = generator.w_avg.cpu().double()
    total = torch.zeros_like(center)
    products = torch.zeros(len(center), len(center), dtype=torch.float64)
    for start in range(0, samples, BATCH):
        w = generator.sample_w(min(BATCH, samples - start), random).cpu().double() - center
        total += w.sum(dim=0)
        products += w.t() @ w
        if on_progress is not None:
            on_progress(min(1.0, (start + BATCH) / samples))
    shift = total / samples
    covariance = (products - samples * torch.outer(shift, shift)) / (samples - 1)
    return center + shift, covariance


def main(arguments: list[str] | None = None) -> int:
    """The command: compute and write components.safetensors and factors.safetensors beside the generator."""
    from ganworks.generator import open_generator

    parser = argparse.ArgumentParser(prog="python -m ganworks.components", description=main.__doc__)
    parser.add_argument("generator", help="a generator's folder or its generator.safetensors")
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=None, help="how many to keep (all)")
    options = parser.parse_args(arguments)
    try:
        generator = open_generator(options.generator)
        basis = principal_components(generator, options.samples, options.seed, options.count)
        target = Path(generator.info.path).with_name(COMPONENTS_FILE)
        basis.save(target)
        closed_form_factors(generator, seed=options.seed).save(target.with_name(FACTORS_FILE))
    except GanworksError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    shares = ", ".join(f"{share:.1%}" for share in basis.variance_share[:5].tolist())
    sys.stdout.write(
        f"Wrote {target}: {len(basis)} components from {basis.samples} samples; the first explain {shares}. "
        f"Closed-form factors lie beside it.\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
