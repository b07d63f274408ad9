"""The door itself: reports, words, progress, the catalogue, the command line, and the child process."""

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ganworks
from ganworks import checkpoint
from ganworks.errors import CheckpointError
from ganworks.generator import open_generator
from ganworks.importing import ImportReport, find_imported, sandbox
from ganworks.importing.refusal import MAX_EXPANSION, MIB, Refused

from .support import refused
from .writer import from_network, pickled, snapshot, tiny, zipped


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "mine.pkl"
    path.write_bytes(pickled(snapshot("cond")))
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models" / "mine" / "generator.safetensors"


def test_a_report_tells_what_was_in_the_file(source: Path, target: Path) -> None:
    report = ganworks.import_checkpoint(source, target, label="Mine", license="CC0-1.0", classes=list("abcd"))
    assert (report.format, report.architecture, report.resolution) == ("StyleGAN2-ADA", "stylegan2", 32)
    assert (report.z_dim, report.w_dim, report.c_dim, report.num_ws, report.mapping_layers) == (
        64,
        64,
        4,
        8,
        2,
    )
    assert (report.source_name, report.source_bytes) == ("mine.pkl", source.stat().st_size)
    assert report.source_sha256 == checkpoint.sha256_of(source)
    assert report.generator_sha256 == checkpoint.sha256_of(target)
    assert (report.label, report.license, report.classes, report.crop) == (
        "Mine",
        "CC0-1.0",
        tuple("abcd"),
        None,
    )
    assert ("mapping.w_avg", (64,)) in report.layers
    assert report.parameters == open_generator(target).num_parameters
    assert all(sentence.endswith(".") for sentence in report.ignored)


def test_a_report_lies_beside_the_generator_and_is_read_back(source: Path, target: Path) -> None:
    report = ganworks.import_checkpoint(source, target)
    path = target.with_name("report.json")
    assert ImportReport.load(path) == report
    assert ImportReport.from_data(json.loads(json.dumps(report.as_data()))) == report
    path.write_text("{}")
    assert ImportReport.load(path) is None
    assert ImportReport.load(path.with_name("nothing.json")) is None


def test_the_header_of_the_generator_has_the_words_and_where_it_came_from(source: Path, target: Path) -> None:
    ganworks.import_checkpoint(source, target, label="Mine", description="Four kinds.", classes=list("abcd"))
    info = open_generator(target).info
    assert (info.label, info.description, info.classes) == ("Mine", "Four kinds.", tuple("abcd"))
    assert (info.source_format, info.source_name) == ("StyleGAN2-ADA", "mine.pkl")
    assert info.source_sha256 == checkpoint.sha256_of(source)


def test_the_same_file_gives_the_same_generator_and_is_recognised(source: Path, target: Path) -> None:
    first = ganworks.import_checkpoint(source, target)
    other = target.parents[1] / "other" / target.name
    assert ganworks.import_checkpoint(source, other).generator_sha256 == first.generator_sha256
    found = find_imported(target.parents[1], first.source_sha256)
    assert found == target
    assert find_imported(target.parents[1], "0" * 64) is None
    assert find_imported(target.parents[1] / "nowhere", first.source_sha256) is None


def test_a_damaged_generator_in_the_folder_recognises_nothing(source: Path, target: Path) -> None:
    report = ganworks.import_checkpoint(source, target)
    target.write_bytes(b"damaged")
    assert find_imported(target.parents[1], report.source_sha256) is None


def test_classes_must_be_as_many_as_the_generator_has(source: Path, target: Path, tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match="2 classes were named, and its generator has 4. Name 4, or none."
    ):
        ganworks.import_checkpoint(source, target, classes=["a", "b"])
    source.write_bytes(pickled(snapshot("skip")))
    with pytest.raises(CheckpointError, match="Name none"):
        ganworks.import_checkpoint(source, target, classes=["a"])
    assert not target.parent.exists()


def test_a_folder_that_cannot_be_written_to_is_told_of(source: Path, tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file where a folder should be")
    with pytest.raises(CheckpointError, match="nothing can be written"):
        ganworks.import_checkpoint(source, tmp_path / "models" / "generator.safetensors")


# --- Progress ---------------------------------------------------------------------------------------------------


def test_progress_goes_from_nothing_to_all(source: Path, target: Path) -> None:
    steps: list[tuple[float, str]] = []
    ganworks.import_checkpoint(source, target, on_progress=lambda share, stage: steps.append((share, stage)))
    shares = [share for share, _ in steps]
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[-1] > 0.9
    assert {stage for _, stage in steps} == {
        "Reading the file",
        "Computing its checksum",
        "Writing the weights",
    }


def test_an_error_in_progress_stops_the_import_and_leaves_nothing(source: Path, target: Path) -> None:
    def stop(share: float, stage: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ganworks.import_checkpoint(source, target, on_progress=stop)
    assert not target.parent.exists()


# --- The catalogue ----------------------------------------------------------------------------------------------


def test_the_catalogue_has_the_seven_models_of_the_predecessor() -> None:
    entries = ganworks.catalogue()
    assert [entry.key for entry in entries] == [
        "faces",
        "cats",
        "dogs",
        "wild",
        "cars",
        "churches",
        "landscapes",
    ]
    for entry in entries:
        assert ganworks.catalogue_entry(entry.file_name) == entry
        assert entry.obtain.startswith("https://")
        assert entry.architecture in ("stylegan2", "alis")
        assert entry.license
        assert entry.description.endswith(".")
    cars = ganworks.catalogue_entry("stylegan2-car-config-f.pkl")
    assert cars is not None
    assert cars.crop == (0, 64, 512, 448)
    assert ganworks.catalogue_entry("unknown.pkl") is None


def test_a_known_name_fills_in_label_license_and_crop(tmp_path: Path) -> None:
    source, target = tmp_path / "stylegan2-car-config-f.pkl", tmp_path / "cars" / "generator.safetensors"
    network = tiny(resolution=512, channel_base=512)
    source.write_bytes(pickled({"G_ema": from_network(network)}))
    report = ganworks.import_checkpoint(source, target)
    assert (report.label, report.crop) == ("Cars", (0, 64, 512, 448))
    assert "NVIDIA" in report.license
    assert open_generator(target).info.picture_size == (512, 384)
    given = ganworks.import_checkpoint(source, target, label="My cars", license="")
    assert (given.label, given.license, given.crop) == ("My cars", "", (0, 64, 512, 448))


def test_a_known_name_on_another_generator_fills_in_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "stylegan2-car-config-f.pkl", tmp_path / "cars" / "generator.safetensors"
    source.write_bytes(pickled(snapshot("skip")))
    report = ganworks.import_checkpoint(source, target)
    assert (report.label, report.license, report.crop) == ("", "", None)


# --- The command line -------------------------------------------------------------------------------------------


def command(*arguments: Any) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "ganworks.importing", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def test_the_command_prints_the_report(source: Path, target: Path) -> None:
    done = command(source, target, "--label", "Mine")
    assert done.returncode == 0, done.stderr
    assert "StyleGAN2-ADA, 32 pixels, 4 classes" in done.stdout
    assert open_generator(target).info.label == "Mine"


def test_the_command_says_why_a_file_is_refused(tmp_path: Path, target: Path) -> None:
    page = tmp_path / "ffhq.pkl"
    page.write_text("<html>Quota exceeded</html>")
    done = command(page, target)
    assert done.returncode == 1
    assert "it is a web page" in done.stderr
    assert "Traceback" not in done.stderr
    assert not target.parent.exists()


def test_the_engine_can_be_imported_without_torch_or_numpy() -> None:
    program = "import sys, ganworks; assert not {'torch', 'numpy', 'django'} & sys.modules.keys()"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# --- The child process ------------------------------------------------------------------------------------------


def children() -> set[int]:
    """The processes that this one has."""
    tasks = Path(f"/proc/{os.getpid()}/task")
    return {int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()}


def with_program(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setattr(sandbox, "PROGRAM", f"import sys, json; order = json.load(sys.stdin); {program}")


FAILURES: dict[str, tuple[str, str]] = {
    "crash": ("import os; os.kill(os.getpid(), 11)", "reading it failed"),
    "exception": ("1 / 0", "reading it failed"),
    "silence": ("pass", "reading it failed"),
    "endless answers": ("[print('x' * 10**6) for _ in iter(int, 1)]", "reading it failed"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_whatever_becomes_of_the_child_is_a_sentence(
    case: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program, sentence = FAILURES[case]
    with_program(monkeypatch, program)
    before = children()
    with caplog.at_level(logging.ERROR):
        assert sentence in refused(tmp_path, source)
    assert children() == before
    assert "child of an import ended" in caplog.text


def test_a_child_that_takes_too_long_is_stopped(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_program(monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(sandbox, "BASE_SECONDS", 0.1)
    start, before = time.monotonic(), children()
    assert "takes too long" in refused(tmp_path, source)
    assert time.monotonic() - start < 20
    assert children() == before


def in_child(folder: Path, code: str, size: int = 10 * MIB) -> Any:
    """What a program finds in the child, with the limits for a file of `size` bytes."""
    source, draft = folder / "source", folder / "draft"
    source.write_bytes(b"x")
    os.truncate(source, size)
    program = f"""
import json, os, resource, sys
from ganworks.importing.child import limit
order = json.load(sys.stdin)
limit(order["limits"])
{code}
sys.stdout.write(json.dumps(dict(report=dict(found=found))) + chr(10))
"""
    before = sandbox.PROGRAM
    sandbox.PROGRAM = f"import sys; sys.path.insert(0, {str(sandbox.ROOT)!r})\n{program}"
    try:
        with source.open("rb") as file, draft.open("w+b") as target:
            return sandbox.run(file, target, {}, None)["found"]
    finally:
        sandbox.PROGRAM = before


LIMITS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "memory": (
        f"""
try:
    found = len(bytearray({(MAX_EXPANSION * 10 + 400) * MIB}))
except MemoryError:
    found = "no memory"
""",
        lambda found: bool(found == "no memory"),
    ),
    "environment": (
        "found = sorted({'PATH', 'HOME', 'DJANGO_SETTINGS_MODULE'} & set(os.environ))",
        lambda found: found == [],
    ),
    "folder": ("found = os.listdir('.')", lambda found: found == []),
    "open files": ("found = len(os.listdir('/proc/self/fd'))", lambda found: found <= 6),
    "core": ("found = resource.getrlimit(resource.RLIMIT_CORE)[0]", lambda found: found == 0),
    "torch": (
        "import ganworks.importing.convert; found = 'torch' in sys.modules",
        lambda found: found is False,
    ),
}


@pytest.mark.parametrize("case", LIMITS)
def test_the_child_may_do_little(case: str, tmp_path: Path) -> None:
    code, holds = LIMITS[case]
    assert holds(in_child(tmp_path, code))


@pytest.mark.parametrize(
    "line",
    [
        "import wave",
        "open('/etc/passwd')",
        "os.system('true')",
        "exec('1')",
        "compile('1', 'x', 'eval')",
        "os.remove('x')",
        "os.fork()",
        "__import__('wave')",
    ],
)
def test_while_a_file_is_read_the_interpreter_does_nothing_else(line: str, tmp_path: Path) -> None:
    code = f"""
from ganworks.importing.child import locked
from ganworks.importing.refusal import Refused
program = compile({line!r}, "line", "exec")
found = "done"
try:
    with locked():
        {line}
except Refused as refusal:
    found = refusal.reason
found = [found, __import__("colorsys") is not None]
"""
    reason, again = in_child(tmp_path, code)
    assert reason.startswith("reading it led to something that is forbidden")
    assert again


def test_the_child_cannot_write_more_than_its_file_may_become(tmp_path: Path) -> None:
    code = f"""
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    with open("large", "wb") as file:
        for _ in range(100):
            file.write(bytes({MIB}))
    found = "written"
except OSError:
    found = "refused"
"""
    assert in_child(tmp_path, code) == "refused"


def test_the_child_is_stopped_when_it_computes_for_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "limits", lambda size, seconds: {"CPU": 1})
    with pytest.raises(Refused, match="reading it failed"):
        in_child(tmp_path, "found = [0 for _ in iter(int, 1)]")


MEASURED = """
import json, mmap, os, sys
from ganworks.importing.convert import convert

def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024

given = dict.fromkeys(("label", "license", "description")) | {"classes": []}
before = peak()
with open(sys.argv[1], "rb") as file, open(os.devnull, "wb") as target:
    data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    convert(data, target, {"name": "x", "given": given, "known": None}, lambda share, stage: None)
print(peak() - before)
"""


@pytest.mark.parametrize("container", ["protocol 2", "protocol 4", "zip"])
def test_reading_takes_less_memory_than_two_and_a_half_times_the_file(container: str, tmp_path: Path) -> None:
    network = from_network(
        tiny(w_dim=512, z_dim=512, resolution=64, num_layers=8, channel_base=8192, channel_max=256)
    )
    data = zipped(network) if container == "zip" else pickled({"G_ema": network}, int(container[-1]))
    source = tmp_path / "file.pkl"
    source.write_bytes(data)
    line = [sys.executable, "-c", MEASURED, str(source)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert len(data) > 20 * MIB
    assert int(done.stdout) <= 2.5 * len(data)


def test_a_file_that_shrinks_while_it_is_read_is_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shrink(share: float, stage: str) -> None:
        os.truncate(source, 10)

    source.write_bytes(pickled({"G_ema": from_network(tiny(w_dim=512, z_dim=512, num_layers=16))}))
    with pytest.raises(CheckpointError, match="cannot be imported"):
        ganworks.import_checkpoint(source, tmp_path / "m" / "generator.safetensors", on_progress=shrink)
    assert not (tmp_path / "m").exists()
