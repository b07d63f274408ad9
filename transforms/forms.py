"""Forms for what members ask for. They show the fields; what is allowed stands in `transforms.params`."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any

from django import forms

from accounts.models import User
from gallery.models import Picture
from transforms import params, wishes
from transforms.classes import class_labels, class_named
from transforms.engine import engine
from transforms.errors import InvalidParams, TransformError
from transforms.models import Job

MENU_CLASSES = 24


def generator_choices() -> list[tuple[str, str]]:
    return [(info.name, info.label) for info in engine().generators()]


def upscaler_choices() -> list[tuple[str, str]]:
    return [(info.name, info.title) for info in engine().upscalers()]


class WishForm(forms.Form):
    """A form whose service has the last word: what it refuses appears at the field that it names."""

    once = forms.CharField(max_length=64, required=False, widget=forms.HiddenInput)

    def ask(
        self, service: Callable[..., Job | None], user: User, *pictures: Picture, **wish: Any
    ) -> Job | None:
        """Call the service, once for each time that the form was shown. None: it refused, and the form says why."""
        contents = [service.__name__, [picture.pk for picture in pictures], wish]
        asking = partial(service, user, *pictures, **wish)
        try:
            return wishes.once_on_page(user, self.cleaned_data["once"], contents, asking)
        except InvalidParams as error:
            self.add_error(error.field if error.field in self.fields else None, str(error))
        except TransformError as error:
            self.add_error(None, str(error))
        return None


class ClassField(forms.CharField):
    """A class of one generator, by its name. Few are a menu; many are a field that finds them while one types.

    `no_class`: the words for no class at all, if there is such a choice.
    """

    def __init__(self, generator: str, generator_label: str, labels: list[str], no_class: str = "") -> None:
        self.generator = generator
        self.generator_label = generator_label
        self.labels = labels
        self.no_class = no_class
        self.offered = [no_class] * bool(no_class) + labels
        self.list_id = f"classes-of-{generator}" if len(labels) > MENU_CLASSES else ""
        widget: forms.Widget
        if self.list_id:
            attributes = {"list": self.list_id, "autocomplete": "off", "spellcheck": "false", "data-find": ""}
            widget = forms.TextInput(attrs=attributes)
        else:
            widget = forms.Select(choices=[(label, label) for label in self.offered])
        label = "Class to look in" if no_class else "Class"
        super().__init__(label=label, required=False, widget=widget, initial=self.offered[0])

    def number_of(self, words: str) -> int | None:
        """The class of these words; None for none. ValidationError if there is no such class."""
        if words.strip() in ("", self.no_class):
            return None
        found = class_named(words, self.labels)
        if found is None:
            raise forms.ValidationError(
                f"{self.generator_label} has no class “{words[:80]}”. Choose one of its list."
            )
        return found


class ClassesForm(WishForm):
    """A form with a choice of generators. Each that has classes brings a field, and that of the chosen one counts:
    it gives `class_index`."""

    no_class = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for info in engine().generators():
            if info.c_dim:
                labels = class_labels(info.c_dim, info.classes)
                self.fields[f"class_{info.name}"] = ClassField(info.name, info.label, labels, self.no_class)

    @property
    def class_fields(self) -> list[forms.BoundField]:
        return [self[name] for name, field in self.fields.items() if isinstance(field, ClassField)]

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or self.cleaned_data
        data["class_index"] = None
        name = f"class_{data.get('generator')}"
        field = self.fields.get(name)
        if isinstance(field, ClassField):
            try:
                data["class_index"] = field.number_of(data.get(name, ""))
            except forms.ValidationError as error:
                self.add_error(name, error)
        return data


class GenerateForm(ClassesForm):
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

    def wish(self) -> dict[str, Any]:
        """The arguments of the service."""
        names = ("generator", "count", "seed", "truncation_psi", "class_index")
        return {name: self.cleaned_data[name] for name in names}


class ProjectForm(ClassesForm):
    """The square comes in pixels of the upright picture; without one, the largest in the middle is taken."""

    no_class = "All classes"
    generator = forms.ChoiceField(choices=generator_choices, label="Generator")
    x = forms.IntegerField(min_value=0, required=False)
    y = forms.IntegerField(min_value=0, required=False)
    size = forms.IntegerField(min_value=1, required=False)
    space = forms.ChoiceField(choices=[(space, space.upper()) for space in params.SPACES], required=False)
    steps = forms.IntegerField(min_value=0, max_value=params.MAX_STEPS, required=False)
    grade = forms.ChoiceField(choices=[(grade, grade.title()) for grade in params.GRADES], required=False)
    kept = forms.UUIDField(required=False)

    def wish(self) -> dict[str, Any]:
        """The arguments of the service."""
        data = self.cleaned_data
        square = {name: data.get(name) for name in ("x", "y", "size")}
        return {
            "generator": data["generator"],
            "crop": None if all(value is None for value in square.values()) else square,
            "space": data["space"] or params.SPACES[0],
            "steps": data["steps"] or params.DEFAULT_STEPS,
            "class_index": data["class_index"],
            "grade": data["grade"] or params.DEFAULT_GRADE,
            "kept": data["kept"],
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
