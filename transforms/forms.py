"""Forms for what members ask for. They show the fields; what is allowed stands in `transforms.params`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

from django import forms

from transforms import params
from transforms.engine import engine
from transforms.errors import InvalidParams, TransformError

Result = TypeVar("Result")


def generator_choices() -> list[tuple[str, str]]:
    return [(info.name, info.label) for info in engine().generators()]


def upscaler_choices() -> list[tuple[str, str]]:
    return [(info.name, f"{info.label} ({info.scale} times)") for info in engine().upscalers()]


class WishForm(forms.Form):
    """A form whose service has the last word: what it refuses appears at the field that it names."""

    def ask(self, service: Callable[..., Result], *args: Any, **kwargs: Any) -> Result | None:
        """Call the service. None: it refused, and the form says why."""
        try:
            return service(*args, **kwargs)
        except InvalidParams as error:
            self.add_error(error.field if error.field in self.fields else None, str(error))
        except TransformError as error:
            self.add_error(None, str(error))
        return None


class GenerateForm(WishForm):
    generator = forms.ChoiceField(choices=generator_choices, label="Generator")
    count = forms.IntegerField(
        min_value=1,
        max_value=params.MAX_COUNT,
        initial=4,
        label="How many pictures",
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
    )
    seed = forms.IntegerField(
        min_value=0,
        max_value=params.MAX_SEED,
        required=False,
        label="Seed",
        help_text="The same seed gives the same picture again. Leave it empty for a surprise.",
        widget=forms.NumberInput(attrs={"inputmode": "numeric"}),
    )
    truncation_psi = forms.FloatField(
        min_value=0,
        max_value=params.MAX_TRUNCATION_PSI,
        initial=params.DEFAULT_TRUNCATION_PSI,
        label="Truncation",
        help_text="Low: typical and tidy. High: more unusual, and sometimes odd.",
        widget=forms.NumberInput(attrs={"step": "0.05"}),
    )
    class_index = forms.TypedChoiceField(
        coerce=int, empty_value=None, required=False, label="Class", choices=[("", "—")]
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        most = max((info.c_dim for info in engine().generators()), default=0)
        if not most:
            del self.fields["class_index"]
            return
        named = next((info.classes for info in engine().generators() if info.c_dim == most), ())
        labels = [named[index] if index < len(named) else str(index) for index in range(most)]
        field = self.fields["class_index"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101  (for the type checker)
        field.choices = [("", "—"), *((index, label) for index, label in enumerate(labels))]


class ProjectForm(WishForm):
    """The square comes in pixels of the upright picture; without one, the largest in the middle is taken."""

    generator = forms.ChoiceField(choices=generator_choices, label="Generator")
    x = forms.IntegerField(min_value=0, required=False)
    y = forms.IntegerField(min_value=0, required=False)
    size = forms.IntegerField(min_value=1, required=False)
    space = forms.ChoiceField(choices=[(space, space.upper()) for space in params.SPACES], required=False)
    steps = forms.IntegerField(min_value=1, max_value=params.MAX_STEPS, required=False)

    def wish(self) -> dict[str, Any]:
        """The arguments of the service."""
        data = self.cleaned_data
        square = {name: data.get(name) for name in ("x", "y", "size")}
        return {
            "generator": data["generator"],
            "crop": None if all(value is None for value in square.values()) else square,
            "space": data["space"] or params.SPACES[0],
            "steps": data["steps"] or params.DEFAULT_STEPS,
        }


class SaveForm(WishForm):
    """`recipe` is JSON: {"edits": [...], "truncation_psi": ..., "noise_mode": ...}."""

    recipe = forms.CharField(max_length=16_384, required=False, widget=forms.HiddenInput)
    name = forms.CharField(max_length=params.MAX_NAME, required=False, label="Name")

    def clean_recipe(self) -> dict[str, Any]:
        try:
            recipe = json.loads(self.cleaned_data["recipe"] or "{}")
        except (ValueError, RecursionError):
            recipe = None
        if not isinstance(recipe, dict):
            raise forms.ValidationError("The edits could not be read. Reload the page and try again.")
        return recipe

    def wish(self) -> dict[str, Any]:
        recipe = self.cleaned_data["recipe"]
        return {
            "edits": recipe.get("edits") or [],
            "truncation_psi": recipe.get("truncation_psi"),
            "noise_mode": recipe.get("noise_mode") or "const",
            "class_index": recipe.get("class_index"),
            "move": recipe.get("move"),
            "panorama": recipe.get("panorama"),
            "name": self.cleaned_data["name"],
        }


class UpscaleForm(WishForm):
    upscaler = forms.ChoiceField(choices=upscaler_choices, required=False, label="Upscaler")

    def wish(self) -> dict[str, Any]:
        return {"upscaler": self.cleaned_data["upscaler"] or params.DEFAULT_UPSCALER}
