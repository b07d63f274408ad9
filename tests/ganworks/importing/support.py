"""What the tests of the import share."""

from pathlib import Path

import pytest

import ganworks
from ganworks.errors import CheckpointError
from ganworks.generator import Generator, open_generator


def imported(folder: Path, data: bytes, name: str = "file.pkl") -> Generator:
    """The generator of a checkpoint, through a file and the child process."""
    source, target = folder / name, folder / "model" / "generator.safetensors"
    source.write_bytes(data)
    ganworks.import_checkpoint(source, target)
    return open_generator(target)


def refused(folder: Path, source: Path) -> str:
    """The sentences with which a file is refused; nothing may be written."""
    target = folder / "model" / "generator.safetensors"
    with pytest.raises(CheckpointError) as caught:
        ganworks.import_checkpoint(source, target)
    assert not target.parent.exists()
    message = str(caught.value)
    assert message.startswith(f"The file {source.name} cannot be imported: ")
    assert message.endswith(".")
    assert "\n" not in message
    return message
