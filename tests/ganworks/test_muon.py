"""The optimizer of a generator's kernels."""

import torch
from torch import nn

from ganworks.training.muon import Muon, is_kernel, orthogonalised


def test_singular_values_become_about_one_and_vectors_stay() -> None:
    random = torch.Generator().manual_seed(1)
    for shape in ((16, 40), (40, 16)):
        matrix = torch.randn(shape, generator=random)
        found = orthogonalised(matrix)
        values = torch.linalg.svdvals(found)
        assert float(values.min()) > 0.6
        assert float(values.max()) < 1.3
        left, _, right = torch.linalg.svd(matrix, full_matrices=False)
        inside = left.t() @ found @ right.t()
        assert torch.allclose(inside, torch.diag(torch.diagonal(inside)), atol=1e-3)


def test_what_has_no_gradient_stays_and_a_gradient_of_nothing_moves_nothing() -> None:
    kernels = [nn.Parameter(torch.ones(4, 4, 3, 3)) for _ in range(2)]
    kernels[0].grad = torch.zeros_like(kernels[0])
    Muon(kernels, lr=0.1).step()
    assert all(torch.equal(kernel, torch.ones(4, 4, 3, 3)) for kernel in kernels)


def test_an_update_has_the_size_of_adams_whatever_the_gradients_is() -> None:
    for scale in (1e-4, 1e4):
        kernel = nn.Parameter(torch.zeros(24, 8, 3, 3).contiguous(memory_format=torch.channels_last))
        kernel.grad = scale * torch.randn(kernel.shape, generator=torch.Generator().manual_seed(2))
        Muon([kernel], lr=0.5).step()
        size = float(kernel.detach().square().mean().sqrt())
        assert 0.05 < size < 0.15  # 0.2 of the rate


def test_it_learns_a_badly_scaled_map_sooner_than_gradient_descent() -> None:
    """The inputs' spreads differ by a thousand: what gradient descent must crawl along, this does not see."""
    random = torch.Generator().manual_seed(3)
    wanted = torch.randn(8, 8, generator=random)
    inputs = torch.randn(256, 8, generator=random) * torch.logspace(-3, 0, 8)

    def loss_after(learn: str) -> float:
        weight = nn.Parameter(torch.zeros(8, 8))
        optimizer: torch.optim.Optimizer = (
            Muon([weight], lr=0.2) if learn == "muon" else torch.optim.SGD([weight], lr=0.5)
        )
        for step in range(150):
            for group in optimizer.param_groups:
                group["lr"] *= 0.97 if step > 50 else 1.0
            optimizer.zero_grad()
            torch.autograd.backward(
                (inputs @ (weight - wanted).t() / inputs.std(dim=0).min()).square().mean()
            )
            nn.utils.clip_grad_norm_([weight], 1.0)
            optimizer.step()
        return float((weight.detach() - wanted).square().mean())

    assert loss_after("muon") < 0.5 * loss_after("sgd")


def test_kernels_are_those_of_hidden_convolutions() -> None:
    assert is_kernel(torch.zeros(8, 4, 3, 3))
    for shape in ((3, 8, 1, 1), (3, 8, 3, 3), (8, 8, 1, 1), (8, 8), (1, 8, 4, 4)):
        assert not is_kernel(torch.zeros(shape))
