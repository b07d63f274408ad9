"""Drafts in half precision."""

import pytest
import torch

import ganworks
from ganworks import devices
from ganworks.effort import multiplications
from ganworks.generator import Generator, open_generator
from ganworks.half import HalfPrecision
from ganworks.networks import alis, stylegan2, stylegan3
from ganworks.perceptual import psnr

CPU = torch.device("cpu")
BFLOAT16 = frozenset({"fpu", "avx512_bf16"})


@pytest.fixture(params=[BFLOAT16, frozenset({"fpu"})], ids=["bfloat16", "none"])
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """A processor that has instructions for it, and one that has none."""
    monkeypatch.setattr(devices, "_cpu_flags", lambda: request.param)
    return bool(request.param == BFLOAT16)


def starter_held_for_slow(monkeypatch: pytest.MonkeyPatch) -> Generator:
    needed = multiplications(open_generator("portraits").network)
    monkeypatch.setattr("ganworks.effort.MAX_DRAFT_MULTIPLICATIONS", needed * 3 // 4)
    return open_generator("portraits")


def test_a_draft_in_half_precision_is_within_forty_decibels(
    quick: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    starter = starter_held_for_slow(monkeypatch)
    ws = starter.mapping(starter.latents(range(4)), truncation_psi=0.7)
    draft, exact = starter.draft(ws), starter.synthesis(ws)
    if quick:
        assert draft.dtype == torch.float32
        assert not torch.equal(draft, exact)
        assert (psnr(draft, exact.clamp(-1, 1)) > 40).all()
    else:
        assert draft.shape[2] < exact.shape[2]


def test_drawing_drafts_changes_no_exact_picture(quick: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    starter = starter_held_for_slow(monkeypatch)
    ws = starter.mapping(starter.latents([1]))
    before = starter.synthesis(ws)
    quiet = {key: value * 0 for key, value in starter.network.noise_buffers().items()}
    torch.testing.assert_close(starter.draft(ws, noise=quiet), starter.draft(ws, "none"))
    drafts = [starter.draft(ws, "random", noise_seed=3) for _ in range(2)]
    assert torch.equal(*drafts)
    assert torch.equal(starter.synthesis(ws), before)


def test_only_slow_generators_of_stylegan2_draft_so(quick: bool) -> None:
    plan = stylegan3.standard_description(1024)
    with torch.device("meta"):
        skip, resnet = (stylegan2.Generator(512, 512, 1024, architecture=name) for name in ("skip", "resnet"))
        others = (
            stylegan2.Generator(512, 512, 256, channel_base=16384),
            alis.Generator(512, 512, 1024),
            stylegan3.Generator(512, 512, plan),
        )
    for network in (skip, resnet):
        half = HalfPrecision.of(network, CPU)
        assert half.resolution == 1024 if quick else half is None
    assert all(HalfPrecision.of(network, CPU) is None for network in others)


def test_a_machine_that_does_not_tell_its_instructions_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise OSError

    monkeypatch.setattr("pathlib.Path.read_text", refuse)
    devices._cpu_flags.cache_clear()
    assert not devices.has_quick_bfloat16(CPU)
    devices._cpu_flags.cache_clear()
    assert ganworks.choose_device("cpu") == CPU
