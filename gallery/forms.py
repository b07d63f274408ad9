"""Forms of the gallery."""

from __future__ import annotations

from django import forms

from gallery.services import NAME_LENGTH, tidy


class RenameForm(forms.Form):
    name = forms.CharField(
        max_length=NAME_LENGTH,
        error_messages={"required": "Give the picture a name."},
        widget=forms.TextInput(attrs={"autocomplete": "off", "autofocus": True}),
    )

    def clean_name(self) -> str:
        name = tidy(self.cleaned_data["name"])
        if not name:
            raise forms.ValidationError("A name needs at least one character that can be seen.")
        return name
