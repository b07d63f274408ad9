"""How wishes and jobs are written in the API. What is allowed stands in `transforms.params`."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from gallery.models import Status
from transforms import import_params, params, slices, wishes
from transforms.models import CheckpointImport, ImportState, Job, Operation, State
from transforms.representation import jobs_as_data


class JobSerializer(serializers.Serializer[Job]):
    """A piece of durable work. The sockets send the same."""

    id = serializers.UUIDField()
    sequence = serializers.IntegerField(help_text="Grows with each change.")
    operation = serializers.ChoiceField(choices=Operation.choices)
    title = serializers.CharField()
    state = serializers.ChoiceField(choices=State.choices)
    progress = serializers.FloatField(help_text="0 to 1")
    stage = serializers.CharField(allow_blank=True)
    attempt = serializers.IntegerField()
    image = serializers.UUIDField(allow_null=True)
    saved_image = serializers.UUIDField(allow_null=True)
    checkpoint_import = serializers.UUIDField(allow_null=True)
    images = serializers.ListField(child=serializers.UUIDField(), help_text="All pictures of a random batch.")
    ready = serializers.ListField(child=serializers.UUIDField(), help_text="Those that are drawn already.")
    error = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    has_preview = serializers.BooleanField()
    preview_url = serializers.CharField(allow_null=True)
    position = serializers.IntegerField(
        allow_null=True,
        help_text="How many-th in line, 1 being next; null beyond 1000, and if it does not wait.",
    )
    seconds_left = serializers.ListField(
        child=serializers.FloatField(),
        allow_null=True,
        help_text="Until it is done: from so many seconds to so many, as four of five jobs of its kind took. "
        "null if too little is known.",
    )
    outlook = serializers.CharField(allow_blank=True, help_text="Position and time left in words.")
    can_cancel = serializers.BooleanField()
    can_keep = serializers.BooleanField()
    can_retry = serializers.BooleanField()

    def to_representation(self, instance: Job | dict[str, Any]) -> dict[str, Any]:
        return jobs_as_data([instance])[0] if isinstance(instance, Job) else instance


class LabeledSerializer(serializers.Serializer[object]):
    """Something installed. (`label` stands apart: every field has an attribute of that name.)"""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {**super().get_fields(), "label": serializers.CharField()}


class ComponentSerializer(serializers.Serializer[object]):
    index = serializers.IntegerField()
    name = serializers.CharField()
    variance = serializers.FloatField(help_text="Its part of the whole variance, 0 to 1.")


class GeneratorSerializer(LabeledSerializer):
    name = serializers.CharField()
    architecture = serializers.CharField(help_text="stylegan2, stylegan3 or alis.")
    resolution = serializers.IntegerField(help_text="Side in pixels of what it draws, before the crop.")
    crop = serializers.ListField(
        child=serializers.IntegerField(),
        allow_null=True,
        help_text="Left, top, right and bottom in pixels of the part that is shown; null for all of it.",
    )
    picture_size = serializers.ListField(
        child=serializers.IntegerField(), help_text="Width and height of its pictures in pixels."
    )
    num_ws = serializers.IntegerField(help_text="How many layers an edit can reach.")
    c_dim = serializers.IntegerField(help_text="How many classes it has; 0 for none.")
    classes = serializers.ListField(child=serializers.CharField())
    sha256 = serializers.CharField()
    license = serializers.CharField()
    description = serializers.CharField()
    source_format = serializers.CharField(help_text="What file it was imported from; empty if from none.")
    has_components = serializers.BooleanField()
    has_encoder = serializers.BooleanField(help_text="Whether pictures can be projected as drafts.")


class GeneratorDetailSerializer(GeneratorSerializer):
    components = ComponentSerializer(many=True)
    layer_ranges = serializers.DictField(child=serializers.ListField(child=serializers.IntegerField()))


class UpscalerSerializer(LabeledSerializer):
    name = serializers.CharField()
    scale = serializers.IntegerField(
        help_text="How many times as wide and high; 1 for one that only restores."
    )
    architecture = serializers.CharField(help_text="The kind of its network.")
    sha256 = serializers.CharField()
    license = serializers.CharField()
    description = serializers.CharField()


class EditSerializer(serializers.Serializer[object]):
    component = serializers.IntegerField(min_value=0, max_value=8191)
    strength = serializers.FloatField(
        min_value=-params.MAX_STRENGTH_SIGMA, max_value=params.MAX_STRENGTH_SIGMA, help_text="In sigma."
    )
    start = serializers.IntegerField(min_value=0, max_value=63, help_text="The first layer.")
    end = serializers.IntegerField(min_value=1, max_value=64, help_text="The layer before which it ends.")
    basis = serializers.ChoiceField(
        choices=params.BASES,
        default=params.BASES[0],
        help_text="Whether the number counts principal components or closed-form factors.",
    )


class MoveSerializer(serializers.Serializer[object]):
    """For generators that can shift and turn a picture (StyleGAN3)."""

    x = serializers.FloatField(
        min_value=-1, max_value=1, default=0.0, help_text="Right, in parts of the side."
    )
    y = serializers.FloatField(
        min_value=-1, max_value=1, default=0.0, help_text="Down, in parts of the side."
    )
    degrees = serializers.FloatField(min_value=-180, max_value=180, default=0.0)


class PanoramaSerializer(serializers.Serializer[object]):
    """For generators that draw panoramas (ALIS): a window, in pixels from the left end."""

    left = serializers.IntegerField(min_value=0, max_value=params.MAX_PANORAMA_PX, default=0)
    width = serializers.IntegerField(min_value=1, max_value=params.MAX_PANORAMA_PX)


class WishSerializer(serializers.Serializer[object]):
    """Something that becomes a job."""

    deadline = serializers.IntegerField(
        min_value=1,
        max_value=wishes.MAX_DEADLINE_SECONDS,
        required=False,
        allow_null=True,
        help_text="In seconds from now: what is not done by then is given up.",
    )


class GenerateSerializer(WishSerializer):
    generator = serializers.CharField(max_length=100)
    count = serializers.IntegerField(min_value=1, max_value=params.MAX_COUNT, default=1)
    seed = serializers.IntegerField(
        min_value=0,
        max_value=params.MAX_SEED,
        required=False,
        allow_null=True,
        help_text="Empty: a random one.",
    )
    truncation_psi = serializers.FloatField(
        min_value=0, max_value=params.MAX_TRUNCATION_PSI, default=params.DEFAULT_TRUNCATION_PSI
    )
    class_index = serializers.IntegerField(min_value=0, max_value=8191, required=False, allow_null=True)


class CropSerializer(serializers.Serializer[object]):
    """A square of the upright picture, in its pixels."""

    x = serializers.IntegerField(min_value=0, max_value=params.MAX_PIXELS_SIDE)
    y = serializers.IntegerField(min_value=0, max_value=params.MAX_PIXELS_SIDE)
    size = serializers.IntegerField(min_value=1, max_value=params.MAX_PIXELS_SIDE)


class ProjectSerializer(WishSerializer):
    generator = serializers.CharField(max_length=100)
    crop = CropSerializer(required=False, allow_null=True)
    space = serializers.ChoiceField(choices=params.SPACES, default=params.SPACES[0])
    steps = serializers.IntegerField(min_value=1, max_value=params.MAX_STEPS, default=params.DEFAULT_STEPS)
    class_index = serializers.IntegerField(
        min_value=0, max_value=8191, required=False, allow_null=True, help_text="Near which class to look."
    )
    grade = serializers.ChoiceField(
        choices=params.GRADES,
        default=params.DEFAULT_GRADE,
        help_text="draft: what the generator's encoder says at once, if it has one. faithful: also tune the generator for "
        "this picture, which takes longer.",
    )
    force = serializers.BooleanField(
        default=False, help_text="Project again even if an equal projection is kept."
    )


class EditsSerializer(serializers.Serializer[object]):
    edits = serializers.ListField(child=EditSerializer(), default=list, max_length=params.MAX_EDITS)
    truncation_psi = serializers.FloatField(
        min_value=0,
        max_value=params.MAX_TRUNCATION_PSI,
        required=False,
        allow_null=True,
        help_text="Of random pictures only. Empty: as the picture was drawn.",
    )
    noise_mode = serializers.ChoiceField(choices=params.NOISE_MODES, default=params.NOISE_MODES[0])
    class_index = serializers.IntegerField(
        min_value=0,
        max_value=8191,
        required=False,
        allow_null=True,
        help_text="Of random pictures only. Empty: as the picture was drawn.",
    )
    move = MoveSerializer(required=False, allow_null=True)


class SaveSerializer(EditsSerializer, WishSerializer):
    panorama = PanoramaSerializer(required=False, allow_null=True)
    name = serializers.CharField(max_length=params.MAX_NAME, required=False, allow_blank=True, default="")


class RenderSerializer(EditsSerializer):
    format = serializers.ChoiceField(choices=["png", "webp", "jpeg"], default="png")


class UpscaleSerializer(WishSerializer):
    upscaler = serializers.CharField(max_length=100, default=params.DEFAULT_UPSCALER)


class AnnounceSerializer(LabeledSerializer):
    """A checkpoint that will be sent in slices. Empty texts are taken from the file, or from the catalogue."""

    name = serializers.CharField(max_length=63, help_text="Of small letters, digits, - and _.")
    license = serializers.CharField(max_length=300, required=False, allow_blank=True, default="")
    classes = serializers.ListField(
        child=serializers.CharField(max_length=import_params.MAX_CLASS_NAME),
        required=False,
        max_length=import_params.MAX_CLASSES,
        default=list,
        help_text="As many names as the generator has classes; empty: numbers.",
    )
    file_name = serializers.CharField(max_length=255)
    bytes = serializers.IntegerField(min_value=1, help_text="The size of the file.")
    fingerprint = serializers.CharField(
        max_length=64,
        required=False,
        allow_blank=True,
        default="",
        help_text="Anything that tells this file from others of its name and size.",
    )

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        label = serializers.CharField(max_length=80, required=False, allow_blank=True, default="")
        return {**super().get_fields(), "label": label}


class CheckpointImportSerializer(serializers.Serializer[CheckpointImport]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    license = serializers.CharField()
    classes = serializers.ListField(child=serializers.CharField())
    file_name = serializers.CharField()
    state = serializers.ChoiceField(choices=ImportState.choices)
    bytes_total = serializers.IntegerField()
    bytes_received = serializers.IntegerField()
    slice_bytes = serializers.SerializerMethodField(help_text="How many bytes the next slice must have.")
    status_directions = serializers.ChoiceField(choices=Status.choices)
    source_sha256 = serializers.CharField()
    generator_sha256 = serializers.CharField()
    report = serializers.DictField(help_text="What was in the file; empty before it was read.")
    error = serializers.CharField(allow_blank=True)
    user = serializers.CharField(source="user.user_name", allow_null=True, default=None)
    created_at = serializers.DateTimeField()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        return {**super().get_fields(), "label": serializers.CharField()}

    def get_slice_bytes(self, row: CheckpointImport) -> int:
        return slices.slice_size(row.bytes_received, row.bytes_total)
