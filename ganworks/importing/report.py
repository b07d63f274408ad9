"""What an import tells about the file that it read."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

REPORT_FILE = "report.json"


@dataclass(frozen=True)
class ImportReport:
    """
    `format` in words. `layers` are all tensors with their shapes, `parameters` how many numbers were learned,
    `ignored` sentences about what was left out, `crop` (left, top, right, bottom) in pixels, `seconds` how long it
    took. The hashes are of the file that was read and of the one that was written.
    """

    format: str
    architecture: str
    resolution: int
    z_dim: int
    w_dim: int
    c_dim: int
    num_ws: int
    mapping_layers: int
    parameters: int
    layers: tuple[tuple[str, tuple[int, ...]], ...]
    ignored: tuple[str, ...]
    source_name: str
    source_bytes: int
    source_sha256: str
    generator_sha256: str
    label: str
    license: str
    classes: tuple[str, ...]
    crop: tuple[int, int, int, int] | None
    seconds: float

    def as_data(self) -> dict[str, Any]:
        """The report as JSON."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> "ImportReport":
        """The report from its JSON. ValueError if it is of another form."""
        try:
            values = {field.name: data[field.name] for field in fields(cls)}
            values["layers"] = tuple((str(name), tuple(shape)) for name, shape in values["layers"])
            values["ignored"], values["classes"] = tuple(values["ignored"]), tuple(values["classes"] or ())
            values["crop"] = tuple(values["crop"]) if values["crop"] else None
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError("The report of the import is malformed.") from error
        return cls(**values)

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        path.write_text(json.dumps(self.as_data(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> "ImportReport | None":
        """A report that was saved; None if there is none, or a damaged one."""
        try:
            return cls.from_data(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return None
