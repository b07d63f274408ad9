"""Pictures to test with: made on the spot, none is kept in the repository."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image as Pillow

from accounts.models import User
from gallery.models import Image, SavedImage, Status
from gallery.services import store_image, store_saved

RECIPE = {
    "schema": 1,
    "generator": {"name": "portraits", "sha256": "a" * 64},
    "source": {"kind": "seed", "seed": 5, "class": None},
    "truncation_psi": 0.7,
    "truncation_cutoff": None,
    "edits": [{"component": 3, "strength": 2.0, "start": 0, "end": 6}],
    "noise_mode": "const",
}


def scene(width: int = 64, height: int = 64, mode: str = "RGB", seed: int = 0) -> Pillow.Image:
    """A smooth picture that no other seed gives, so that lossy formats keep it well."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
    return Pillow.fromarray(small).resize((width, height), Pillow.Resampling.BICUBIC).convert(mode)


def as_bytes(picture: Pillow.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def as_upload(data: bytes, name: str = "beach.png", mime_type: str = "image/png") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, data, mime_type)


MakeImage = Callable[..., Image]
MakeSaved = Callable[..., SavedImage]


@pytest.fixture
def make_image() -> MakeImage:
    """An image of this user, with files unless `picture=None`."""

    def make(user: User, picture: Pillow.Image | None = None, *, ready: bool = True, **fields: Any) -> Image:
        defaults: dict[str, Any] = {"name": "Beach", "source": Image.Source.UPLOAD}
        image = Image.objects.create(user=user, **(defaults | fields))
        if ready:
            store_image(image, picture or scene())
        return image

    return make


@pytest.fixture
def make_saved() -> MakeSaved:
    """A saved image of this user, with files."""

    def make(user: User, parent: Image | None = None, **fields: Any) -> SavedImage:
        defaults: dict[str, Any] = {"name": "Smile", "model": "portraits", "recipe": RECIPE}
        saved = SavedImage.objects.create(user=user, parent_image=parent, **(defaults | fields))
        store_saved(saved, scene(seed=2))
        return saved

    return make


__all__ = ["RECIPE", "Status", "as_bytes", "as_upload", "scene"]
