"""What pictures can be filtered by, on the page and in the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import django_filters

from gallery.models import Image, PictureQuerySet, SavedImage, Status


class ImageFilter(django_filters.FilterSet):  # type: ignore[misc]  # the library has no types
    generator = django_filters.CharFilter(field_name="model", max_length=100, label="Generator")
    source = django_filters.ChoiceFilter(choices=Image.Source.choices, label="Source")
    status = django_filters.ChoiceFilter(field_name="status_process", choices=Status.choices, label="Status")

    class Meta:
        model = Image
        fields = ["generator", "source", "status"]


class SavedImageFilter(django_filters.FilterSet):  # type: ignore[misc]  # the library has no types
    generator = django_filters.CharFilter(field_name="model", max_length=100, label="Generator")
    parent = django_filters.UUIDFilter(field_name="parent_image", label="The picture it was made from")

    class Meta:
        model = SavedImage
        fields = ["generator", "parent"]


def generators_of(pictures: PictureQuerySet) -> list[str]:
    """The names of the generators that these pictures come from."""
    return list(pictures.exclude(model="").order_by("model").values_list("model", flat=True).distinct())


def filtered_images(data: Mapping[str, Any], images: PictureQuerySet) -> PictureQuerySet:
    """Those that match `generator` and `source`. A filter with nonsense in it matches nothing."""
    chosen = ImageFilter(data, queryset=images)
    matching: PictureQuerySet = chosen.qs if chosen.is_valid() else images.none()
    return matching
