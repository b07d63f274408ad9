"""Principal components and the edits that use them."""

from pathlib import Path
from typing import Any

import pytest
import torch

import ganworks
from ganworks import components
from ganworks.components import Basis, closed_form_factors, open_basis, principal_components
from ganworks.generator import Generator, open_generator, save_generator

from .conftest import small_network


@pytest.fixture
def basis(generator: Generator) -> Basis:
    return principal_components(generator, samples=5000)


def test_components_are_the_axes_of_the_covariance(generator: Generator, basis: Basis) -> None:
    random = torch.Generator().manual_seed(0)
    parts = [generator.sample_w(count, random) for count in (4096, 904)]
    w = torch.cat(parts).double()
    torch.testing.assert_close(basis.mean.double(), w.mean(dim=0), rtol=1e-4, atol=1e-5)
    covariance = torch.cov(w.t())
    rebuilt = basis.components.double().t() * basis.stdev.double().square() @ basis.components.double()
    torch.testing.assert_close(rebuilt, covariance, rtol=1e-3, atol=1e-5 * float(covariance.max()))


def test_components_are_orthonormal_and_ordered_by_spread(basis: Basis) -> None:
    torch.testing.assert_close(basis.components @ basis.components.t(), torch.eye(24), rtol=0, atol=1e-4)
    assert basis.stdev.diff().max() <= 0
    assert basis.variance_share.sum() == pytest.approx(1, abs=1e-4)


def test_the_largest_coordinate_of_each_component_is_positive(basis: Basis) -> None:
    largest = basis.components.gather(1, basis.components.abs().argmax(dim=1, keepdim=True))
    assert largest.min() > 0


def test_the_same_arguments_give_the_same_basis(generator: Generator, basis: Basis) -> None:
    again = principal_components(generator, samples=5000)
    assert torch.equal(again.components, basis.components)
    assert again.names == basis.names == [f"Component {n}" for n in range(1, 25)]


def test_only_so_many_components_are_kept_as_were_asked_for(generator: Generator) -> None:
    assert len(principal_components(generator, samples=100, count=3)) == 3
    for arguments in ({"count": 0}, {"count": 25}, {"samples": 1}):
        with pytest.raises(ganworks.InvalidInput):
            principal_components(generator, **arguments)


def test_components_of_a_conditional_generator_are_over_all_classes(tmp_path: Path) -> None:
    save_generator(small_network(c_dim=3), tmp_path / "c.safetensors", label="C")
    assert len(principal_components(open_generator(tmp_path / "c.safetensors"), samples=100)) == 24


def test_a_basis_is_saved_and_opened_again(basis: Basis, tmp_path: Path) -> None:
    basis.save(tmp_path / "components.safetensors")
    again = open_basis(tmp_path / "components.safetensors")
    assert torch.equal(again.components, basis.components)
    assert again.names == basis.names
    assert again.generator_sha256 == basis.generator_sha256
    assert (again.samples, again.seed) == (5000, 0)


def test_factors_are_what_the_styles_react_to_most(generator: Generator) -> None:
    factors = closed_form_factors(generator, count=24, samples=500)
    torch.testing.assert_close(factors.components @ factors.components.t(), torch.eye(24), rtol=0, atol=1e-4)
    weights = [affine.weight.double() for _, affine in generator.network.affines()]
    assert len(weights) == 11  # seven convolutions and four layers of colours
    reactions = [
        sum(float((weight @ row.double()).square().sum() / weight.square().sum()) for weight in weights)
        for row in factors.components
    ]
    assert reactions == sorted(reactions, reverse=True)
    assert torch.tensor(reactions).sum() == pytest.approx(len(weights), rel=1e-3)
    assert factors.variance_share.sum() == pytest.approx(1, abs=1e-4)


def test_the_strength_of_a_factor_is_in_units_of_the_spread_of_latents(generator: Generator) -> None:
    factors = closed_form_factors(generator, count=3, samples=4000)
    w = generator.sample_w(4000, torch.Generator().manual_seed(5))
    torch.testing.assert_close((w @ factors.components.t()).std(dim=0), factors.stdev, rtol=0.1, atol=0)


def test_factors_are_saved_and_opened_again_as_factors(generator: Generator, tmp_path: Path) -> None:
    factors = closed_form_factors(generator, count=3, samples=500)
    factors.save(tmp_path / "factors.safetensors")
    again = open_basis(tmp_path / "factors.safetensors")
    assert (again.method, again.names) == ("closed-form", ["Factor 1", "Factor 2", "Factor 3"])
    assert torch.equal(again.components, factors.components)


def test_the_command_writes_components_beside_the_generator(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "small" / "components.safetensors"
    path.unlink()
    assert components.main([str(folder / "small"), "--samples", "200", "--count", "5"]) == 0
    assert len(open_basis(path)) == 5
    assert "5 components from 200 samples" in capsys.readouterr().out


def test_the_command_says_what_is_wrong_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert components.main(["nobody"]) == 1
    assert "There is no generator 'nobody'" in capsys.readouterr().err


def test_an_edit_moves_its_rows_by_sigmas_along_its_component(basis: Basis) -> None:
    ws = torch.zeros(2, 8, 24)
    edited = ganworks.apply_edits(ws, [ganworks.Edit(basis, component=3, layers=(2, 5), strength=-1.5)])
    assert torch.equal(edited[:, :2], ws[:, :2])
    assert torch.equal(edited[:, 5:], ws[:, 5:])
    torch.testing.assert_close(edited[0, 2], -1.5 * basis.stdev[3] * basis.components[3])
    assert ws.abs().max() == 0


def test_edits_add_up_in_any_order_and_undo_each_other(basis: Basis) -> None:
    ws = torch.randn(1, 8, 24)
    one, two = ganworks.Edit(basis, 0, (0, 4), 2.0), ganworks.Edit(basis, 5, None, 1.0)
    torch.testing.assert_close(ganworks.apply_edits(ws, [one, two]), ganworks.apply_edits(ws, [two, one]))
    back = ganworks.Edit(basis, 0, (0, 4), -2.0)
    torch.testing.assert_close(ganworks.apply_edits(ws, [one, back]), ws)
    assert torch.equal(ganworks.apply_edits(ws, []), ws)


@pytest.mark.parametrize(
    "arguments",
    [
        {"component": 24},
        {"component": -1},
        {"component": 0, "layers": (3, 3)},
        {"component": 0, "layers": (-1, 3)},
        {"component": 0, "strength": float("nan")},
    ],
)
def test_an_impossible_edit_is_refused(basis: Basis, arguments: dict[str, Any]) -> None:
    with pytest.raises(ganworks.InvalidInput):
        ganworks.Edit(basis, **arguments)


def test_an_edit_beyond_the_last_row_is_refused(basis: Basis) -> None:
    with pytest.raises(ganworks.InvalidInput, match="between 0 and 8"):
        ganworks.apply_edits(torch.zeros(1, 8, 24), [ganworks.Edit(basis, 0, (0, 9))])


def test_directions_of_another_width_are_refused(basis: Basis) -> None:
    with pytest.raises(ganworks.BasisMismatch):
        ganworks.apply_edits(torch.zeros(1, 8, 32), [ganworks.Edit(basis, 0)])


@pytest.mark.parametrize("num_ws", [2, 4, 6, 8, 10, 12, 14, 16, 18])
def test_layer_ranges_cover_all_rows_without_overlap(num_ws: int) -> None:
    ranges = ganworks.layer_ranges(num_ws)
    assert ranges["all"] == (0, num_ws)
    assert ranges["coarse"][0] == 0
    assert ranges["coarse"][1] == ranges["middle"][0]
    assert ranges["middle"][1] == ranges["fine"][0]
    assert ranges["fine"][1] == num_ws
    if num_ws >= 4:
        assert all(start < end for start, end in ranges.values())
