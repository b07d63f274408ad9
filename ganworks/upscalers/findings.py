"""What was found out about a foreign upscaler, and the note of it that lies beside its file."""

import json
import os
import tempfile
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

MAX_SCALE = 8
MAX_PX = 1024
MAX_NOTE_BYTES = 64 * 1024
PURPOSES = ("SR", "Restoration")


@dataclass(frozen=True)
class Findings:
    """
    A foreign network. `architecture` is spandrel's word for it. `align_px`: windows must begin at multiples of it.
    `overlap_px`: how far tiles must overlap, so that none differs from the whole picture by more than `seam_levels`
    of 255. `whole`: no overlap is enough, so it takes pictures as a whole only. All in pixels of the small picture.
    """

    architecture: str
    purpose: str
    scale: int
    parameters: int
    align_px: int
    overlap_px: int
    seam_levels: float
    whole: bool

    def as_data(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_data(cls, data: Any) -> Self:
        """ValueError if the data are none of ours."""
        try:
            found = cls(
                architecture=str(data["architecture"])[:60],
                purpose=str(data["purpose"]),
                scale=int(data["scale"]),
                parameters=int(data["parameters"]),
                align_px=int(data["align_px"]),
                overlap_px=int(data["overlap_px"]),
                seam_levels=float(data["seam_levels"]),
                whole=bool(data["whole"]),
            )
        except (TypeError, KeyError) as error:
            raise ValueError("These are no findings.") from error
        sizes = 1 <= found.align_px <= MAX_PX and 0 <= found.overlap_px <= MAX_PX
        aligned = found.align_px and found.overlap_px % found.align_px == 0
        if not 1 <= found.scale <= MAX_SCALE or found.purpose not in PURPOSES or not sizes or not aligned:
            raise ValueError("These findings cannot be true.")
        return found


def note_of(path: Path) -> Path:
    """Where the note beside an upscaler's file lies."""
    return path.with_suffix(".json")


def read_note(path: Path, sha256: str) -> Findings | None:
    """What was found out before about a file of this content, if that was noted beside it."""
    try:
        with note_of(path).open("rb") as file:
            data = json.loads(file.read(MAX_NOTE_BYTES))
        return Findings.from_data(data) if data["sha256"] == sha256 else None
    except (OSError, ValueError, RecursionError, TypeError, KeyError):
        return None


def write_note(path: Path, sha256: str, findings: Findings) -> None:
    """Note it, so that it need not be found out again. A folder that cannot be written is no fault."""
    note, draft = note_of(path), None
    with suppress(OSError):
        handle, draft = tempfile.mkstemp(dir=note.parent, prefix=f".{note.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"sha256": sha256, **findings.as_data()}, file, indent=2)
            Path(draft).chmod(0o644)
            Path(draft).replace(note)
        finally:
            Path(draft).unlink(missing_ok=True)
