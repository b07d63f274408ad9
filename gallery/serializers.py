"""How pictures look in the API."""

from __future__ import annotations

from typing import Any

from django.urls import reverse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from gallery.models import Image, SavedImage
from gallery.services import tidy


class PictureSerializer(serializers.ModelSerializer[Any]):
    """Only the name can be changed. Links to files lead to the API itself, so that a token opens them."""

    links = serializers.SerializerMethodField()

    def validate_name(self, name: str) -> str:
        cleaned = tidy(name)
        if not cleaned:
            raise serializers.ValidationError("A name needs at least one character that can be seen.")
        return cleaned

    def _link(self, route: str, picture: Any, kind: str) -> str:
        address = reverse(route, kwargs={"pk": picture.pk, "kind": kind})
        request = self.context.get("request")
        return request.build_absolute_uri(address) if request else address


class ImageSerializer(PictureSerializer):
    generator = serializers.CharField(source="model", read_only=True, help_text="Empty: none yet.")
    status = serializers.CharField(source="status_process", read_only=True)

    class Meta:
        model = Image
        fields = [
            "id", "name", "source", "generator", "status", "mime_type", "width", "height", "byte_size", "sha256",
            "seed", "truncation_psi", "class_index", "crop", "projection", "created_at", "links",
        ]  # fmt: skip
        read_only_fields = [name for name in fields if name != "name"]

    @extend_schema_field({"type": "object", "additionalProperties": {"type": "string", "format": "uri"}})
    def get_links(self, image: Image) -> dict[str, str]:
        kinds = ("original", "thumbnail") if image.is_ready else ()
        return {kind: self._link("image-file", image, kind) for kind in kinds}


class SavedImageSerializer(PictureSerializer):
    generator = serializers.CharField(source="model", read_only=True)

    class Meta:
        model = SavedImage
        fields = [
            "id", "name", "parent_image", "generator", "status_superresolution", "mime_type", "width", "height",
            "byte_size", "sha256", "upscaler", "upscaled_width", "upscaled_height", "recipe", "created_at", "links",
        ]  # fmt: skip
        read_only_fields = [name for name in fields if name != "name"]

    @extend_schema_field({"type": "object", "additionalProperties": {"type": "string", "format": "uri"}})
    def get_links(self, saved: SavedImage) -> dict[str, str]:
        kinds = [
            *(("original", "thumbnail") if saved.is_ready else ()),
            *(("upscaled",) if saved.is_upscaled else ()),
        ]
        return {kind: self._link("saved-image-file", saved, kind) for kind in kinds}


@extend_schema_field(OpenApiTypes.BINARY)
class BinaryField(serializers.FileField):
    """A file in a multipart body."""


class UploadSerializer(serializers.Serializer[Any]):
    file = BinaryField(help_text="JPEG, PNG, WebP, AVIF or GIF.", allow_empty_file=True)
    name = serializers.CharField(max_length=120, required=False, help_text="If not given: the file's.")
