"""Small generators of every kind with random weights, and what is drawn with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from accounts.models import User
from gallery.models import Image, SavedImage
from transforms import services
from transforms.models import Job, State
from transforms.worker import run_one

SIDE_PX = 32
CLASSES = ["tabby <cat>", "dog", "owl"]


def make_kinds(folder: Path, side_px: int = SIDE_PX) -> Path:
    """Four generators in `folder`: "kinds" has classes, "places" scrolls, "shifts" moves, "wide" is cropped."""
    import torch

    import ganworks
    from ganworks.generator import open_generator, save_generator
    from ganworks.networks import alis, stylegan2, stylegan3

    torch.manual_seed(0)
    sizes: dict[str, int] = {"channel_base": 256, "channel_max": 16}
    plan = stylegan3.standard_description(side_px, channel_base=256, channel_max=8)
    plan = replace(plan, output_scale=20.0)  # without training its colors would hardly be seen
    crop = [0, side_px // 8, side_px, side_px - side_px // 8]
    networks: dict[str, tuple[torch.nn.Module, dict[str, Any]]] = {
        "kinds": (stylegan2.Generator(16, 32, side_px, c_dim=3, num_layers=2, **sizes), {"classes": CLASSES}),
        "places": (alis.Generator(16, 32, side_px, **sizes), {}),
        "shifts": (stylegan3.Generator(16, 32, plan), {}),
        "wide": (stylegan2.Generator(16, 32, side_px, num_layers=2, **sizes), {"crop": crop}),
    }
    for name, (network, meta) in networks.items():
        path = folder / name / "generator.safetensors"
        save_generator(network, path, label=name.title(), **meta)
        generator = open_generator(path)
        ganworks.principal_components(generator, 500, count=4).save(path.with_name("components.safetensors"))
        ganworks.closed_form_factors(generator, 6, 500).save(path.with_name("factors.safetensors"))
    return folder


def drawn(alice: User, generator: str, **wish: Any) -> Image:
    """A picture of the seed 5."""
    job = services.request_random(alice, generator=generator, count=1, seed=5, **wish)
    run_one(job.pk)
    return Image.objects.get(pk=job.result["images"][0])


def saved_by(job: Job) -> SavedImage:
    """What a job kept, once it has run."""
    assert run_one(job.pk)
    job = Job.objects.get(pk=job.pk)
    assert job.state == State.SUCCEEDED, job.error
    return SavedImage.objects.get(pk=job.result["saved_image"])
