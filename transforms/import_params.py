"""The parameters of an import: what a checkpoint's name, texts and classes may be. See `transforms.params`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Self

from transforms.errors import InvalidParams
from transforms.params import Data, text, whole

MAX_CLASSES = 8192
MAX_CLASS_NAME = 100


@dataclass(frozen=True)
class ImportParams:
    """A checkpoint of `bytes` bytes that shall become the generator `name`. Empty texts: as the file says."""

    name: str
    label: str
    license: str
    classes: tuple[str, ...]
    file_name: str
    bytes: int
    fingerprint: str

    @classmethod
    def from_data(cls, data: Data, *, max_bytes: int) -> Self:
        size = whole(data, "bytes", 1, 2**50)
        if size > max_bytes:
            raise InvalidParams(
                "bytes", f"The file is larger than {max_bytes // 1_048_576} MB. Send a smaller one."
            )
        return cls(
            name=folder_name(data.get("name")),
            label=text(data, "label", 80, ""),
            license=text(data, "license", 300, ""),
            classes=class_names(data.get("classes")),
            file_name=plain_file_name(text(data, "file_name", 255)),
            bytes=size,
            fingerprint=text(data, "fingerprint", 64, ""),
        )


def folder_name(value: object) -> str:
    """A name that is safe as a folder and in an address, and the same on every file system."""
    if not isinstance(value, str) or not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", value):
        raise InvalidParams(
            "name",
            "The name must be of small letters a to z, digits, - and _, begin with a letter or digit, "
            "and have at most 63 characters.",
        )
    return value


def plain_file_name(value: str) -> str:
    """The last part of a path, of plain characters only: what is left can be used as a file's name anywhere."""
    last = re.split(r"[/\\]", value)[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "_", last).lstrip(".")[-120:] or "checkpoint"


def class_names(value: object) -> tuple[str, ...]:
    """Names of classes: a list, or a text with one a line, or a text that is a JSON list."""
    names: object = value
    if isinstance(value, str):
        try:
            names = json.loads(value) if value.lstrip().startswith("[") else value.splitlines()
        except (ValueError, RecursionError):
            names = None
    if names is None and value is None:
        return ()
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise InvalidParams(
            "classes", "The class names must be a text with one a line, or a JSON list of texts."
        )
    stripped = tuple(name.strip() for name in names)
    while stripped and not stripped[-1]:
        stripped = stripped[:-1]
    if len(stripped) > MAX_CLASSES or any(
        not name or len(name) > MAX_CLASS_NAME or not name.isprintable() for name in stripped
    ):
        raise InvalidParams(
            "classes",
            f"Each class name must have 1 to {MAX_CLASS_NAME} characters, and there may be {MAX_CLASSES} of them.",
        )
    return stripped
