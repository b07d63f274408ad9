"""Whatever becomes of the child process, and of the files meanwhile, is one sentence, and nothing is written."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import ganworks
from ganworks.errors import CheckpointError
from ganworks.importing import sandbox
from ganworks.importing.refusal import Refused

from .support import refused
from .writer import generator, pickled


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "file.pkl"
    path.write_bytes(pickled({"G_ema": generator("skip")}))
    return path


def children() -> list[int]:
    """The processes that this one has started and that still run."""
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(pid) for pid in listing.read_text().split()]


def interrupted(source: Path, do: Callable[[], None]) -> str:
    """What is said of a file when something happens while it is read."""
    done: list[float] = []

    def happen(share: float, stage: str) -> None:
        if not done:
            done.append(share)
            do()

    target = source.parent / "model" / "generator.safetensors"
    with pytest.raises(CheckpointError) as caught:
        ganworks.import_checkpoint(source, target, on_progress=happen)
    assert not target.parent.exists()
    return str(caught.value)


def test_a_child_that_is_killed_is_told_of(source: Path) -> None:
    said = interrupted(source, lambda: os.kill(children()[0], signal.SIGKILL))
    assert "reading it failed" in said
    assert not children()


def test_a_file_that_is_cut_while_it_is_read_is_refused(source: Path) -> None:
    assert "cannot be imported" in interrupted(source, lambda: os.truncate(source, 5))


def test_a_file_that_is_changed_while_it_is_read_is_refused(source: Path) -> None:
    assert "it was changed while it was read" in interrupted(source, lambda: os.utime(source, (1, 1)))


def test_an_error_of_the_caller_stops_the_child(source: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(share: float, stage: str) -> None:
        raise Stop

    with pytest.raises(Stop):
        ganworks.import_checkpoint(source, tmp_path / "model" / "g.safetensors", on_progress=stop)
    assert not children()
    assert not (tmp_path / "model").exists()


def test_a_file_is_not_written_over_itself(source: Path) -> None:
    before = source.read_bytes()
    with pytest.raises(CheckpointError, match="lies where its generator would be written"):
        ganworks.import_checkpoint(source, source)
    (source.parent / "model").mkdir()
    (source.parent / "model" / "generator.safetensors").hardlink_to(source)
    with pytest.raises(CheckpointError, match="lies where its generator would be written"):
        ganworks.import_checkpoint(source, source.parent / "model" / "generator.safetensors")
    assert source.read_bytes() == before


def test_a_link_in_the_target_s_place_is_replaced_and_not_followed(source: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "model" / "generator.safetensors").symlink_to(tmp_path / "precious")
    ganworks.import_checkpoint(source, tmp_path / "model" / "generator.safetensors")
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / "model" / "generator.safetensors").is_symlink()


def answers(program: str, seconds: float = 30) -> list[dict[str, object]]:
    """What the parent understands of a program in the child's place."""
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            return list(sandbox._answers(child, b"{}", time.monotonic() + seconds))
        finally:
            child.kill()


@pytest.mark.parametrize(
    "line",
    ["garbage", "[]", "{}", "null", '{"report": 1}', '{"refused": []}', '{"share": 1.0}', "[" * 100_000,
     '{"share": [], "stage": "x"}', "\\xff\\xfe", "1" * 5000],
)  # fmt: skip
def test_garbage_from_the_child_is_refused(line: str) -> None:
    with pytest.raises(Refused, match="reading it failed"):
        answers(f"import sys; sys.stdin.read(); print('''{line}''')")


def test_no_more_than_megabytes_are_heard_from_the_child() -> None:
    start = time.monotonic()
    assert (
        answers(
            "import os, sys\nsys.stdin.read()\ntry:\n while True: os.write(1, b'x' * 65536)\nexcept OSError: pass"
        )
        == []
    )
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("program", ["import time; time.sleep(60)", "import os; os.kill(os.getpid(), 19)"])
def test_a_child_that_says_nothing_is_not_waited_for_without_end(program: str) -> None:
    with pytest.raises(Refused, match="takes too long"):
        answers(program, seconds=0.5)


def test_the_child_has_two_files_no_environment_and_hard_limits(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: set[str] = set()
    seen: dict[str, bytes] = {}

    def look(share: float, stage: str) -> None:
        if not seen:
            (pid,) = children()
            os.kill(pid, signal.SIGSTOP)
            files.update(os.readlink(file) for file in Path(f"/proc/{pid}/fd").iterdir())
            seen.update(
                {name: Path(f"/proc/{pid}/{name}").read_bytes() for name in ("environ", "limits", "maps")}
            )
            os.kill(pid, signal.SIGCONT)

    monkeypatch.setenv("SECRET_OF_THE_SITE", "hush")
    ganworks.import_checkpoint(source, source.parent / "model" / "g.safetensors", on_progress=look)
    places = {file for file in files if not file.startswith("pipe:")}
    assert str(source) in places
    assert len(places) == 3  # the source, the draft and the file for its last words
    assert b"hush" not in seen["environ"]
    assert b"torch" not in seen["maps"]
    for limit in (b"Max address space", b"Max cpu time", b"Max file size"):
        assert not any(
            line.startswith(limit) and b"unlimited" in line for line in seen["limits"].splitlines()
        )


def test_two_imports_into_the_same_place_leave_one_of_them(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pkl"
    other.write_bytes(pickled({"G_ema": generator("orig")}))
    target = tmp_path / "model" / "generator.safetensors"
    command = [sys.executable, "-m", "ganworks.importing"]
    runs = [
        subprocess.Popen([*command, str(path), str(target)], stdout=subprocess.DEVNULL)
        for path in (source, other)
    ]
    assert [run.wait() for run in runs] == [0, 0]
    assert ganworks.open_generator(target).network.architecture in ("skip", "orig")
    assert sorted(path.name for path in target.parent.iterdir()) == ["generator.safetensors", "report.json"]


def test_a_file_that_is_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pkl")
    refused(tmp_path, tmp_path / "pipe.pkl")
