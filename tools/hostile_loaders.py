"""What public loaders and scanners do with hostile checkpoints: the table of docs/security.md, measured.

    python -m venv scan && scan/bin/pip install -r requirements-dev.txt joblib picklescan fickling modelscan
    scan/bin/python -m tools.hostile_loaders [--words]

Run it from the root of the repository, in an environment of its own as above: loaders and scanners that are not
installed are left out. The files are those of the tests, whose payload makes a file "attacked" and does nothing else.
Each is opened in a child process, in an empty folder, with limits on memory and time. For spandrel, whose package needs
torchvision, `pip install --no-deps spandrel` is enough.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ATTACKS = (
    "sound",  # no attack: what is said of an honest file
    "reduce",
    "module_src",
    "storage",
    "nested",
    "unknown_global",
    "truncated",
    "huge_storage",
    "bad_stride",
)
MEMORY_BYTES, SECONDS = 8 << 30, 60
PLACEHOLDER_ERROR = (
    "module_src was executed"  # raised by what the tests put in the place of a module's source
)


# --- In the child -------------------------------------------------------------------------------------------


def stand_ins() -> None:
    """The modules that a StyleGAN tool brings: as the public ones do, they run the source text of each module."""

    def reconstruct(meta: dict[str, Any]) -> object:
        module = types.ModuleType("from_a_checkpoint")
        try:
            exec(meta["module_src"], module.__dict__)  # noqa: S102  # this is what is shown
        except RuntimeError as error:
            if PLACEHOLDER_ERROR not in str(error):
                raise
        return types.SimpleNamespace(**meta["state"])

    names: dict[str, dict[str, Any]] = {
        "torch_utils.persistence": {"_reconstruct_persistent_obj": reconstruct},
        "dnnlib.util": {"EasyDict": type("EasyDict", (dict,), {})},
    }
    for name, members in names.items():
        package = name.partition(".")[0]
        for each in (package, name):
            sys.modules.setdefault(each, types.ModuleType(each))
        vars(sys.modules[name]).update(members)
        setattr(sys.modules[package], name.partition(".")[2], sys.modules[name])


def by_pickle(path: str) -> str:
    import pickle

    stand_ins()
    with open(path, "rb") as file:
        pickle.load(file)  # noqa: S301  # this is what is shown
    return "loaded"


def by_joblib(path: str) -> str:
    stand_ins()
    joblib: Any = importlib.import_module("joblib")
    joblib.load(path)
    return "loaded"


def by_torch(path: str) -> str:
    import torch

    stand_ins()
    torch.load(path, weights_only=False)  # this is what is shown
    return "loaded"


def by_torch_weights_only(path: str) -> str:
    import torch

    stand_ins()
    torch.load(path, weights_only=True)
    return "loaded"


def by_spandrel(path: str) -> str:
    """Its unpickler alone, read from where it is installed: the package itself needs torchvision."""
    import torch

    stand_ins()
    found = importlib.util.find_spec("spandrel")
    assert found is not None  # noqa: S101
    place = Path(str(found.origin)).parent / "__helpers/unpickler.py"
    spec = importlib.util.spec_from_file_location("unpickler", place)
    assert spec is not None  # noqa: S101
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.load(path, pickle_module=module.RestrictedUnpickle)
    return "loaded"


def by_picklescan(path: str) -> str:
    scanner: Any = importlib.import_module("picklescan.scanner")
    found = scanner.scan_file_path(path)
    names = sorted(
        {f"{each.module}.{each.name}" for each in found.globals if each.safety.value == "dangerous"}
    )
    if found.scan_err and not found.infected_files:
        raise ValueError("The scan failed.")
    return f"flagged {' '.join(names)}" if found.infected_files else "passed"


def by_fickling(path: str) -> str:
    analysis: Any = importlib.import_module("fickling.analysis")
    fickle: Any = importlib.import_module("fickling.fickle")
    with open(path, "rb") as file:
        severity = analysis.check_safety(fickle.Pickled.load(file, fail_on_decode_error=False)).severity
    return "passed" if severity.name == "LIKELY_SAFE" else f"flagged {severity.name}"


def by_modelscan(path: str) -> str:
    modelscan: Any = importlib.import_module("modelscan.modelscan")
    found = modelscan.ModelScan().scan(path)
    if found["issues"]:
        return f"flagged {' '.join(sorted({str(issue['operator']) for issue in found['issues']}))}"
    if found["errors"]:
        raise ValueError(str(found["errors"][0].get("description")))
    return "passed"


def by_pixellift(path: str) -> str:
    import ganworks

    ganworks.import_checkpoint(path, Path("out/generator.safetensors"))
    return "loaded"


@dataclass(frozen=True)
class Opener:
    """A loader or a scanner; `package` is what must be installed."""

    label: str
    package: str
    opens: Callable[[str], str]


OPENERS = {
    "pickle": Opener("`pickle.load`", "", by_pickle),
    "joblib": Opener("`joblib.load`", "joblib", by_joblib),
    "torch": Opener("`torch.load(weights_only=False)`", "torch", by_torch),
    "weights_only": Opener("`torch.load(weights_only=True)`", "torch", by_torch_weights_only),
    "spandrel": Opener("spandrel's unpickler", "spandrel", by_spandrel),
    "picklescan": Opener("picklescan", "picklescan", by_picklescan),
    "fickling": Opener("fickling", "fickling", by_fickling),
    "modelscan": Opener("modelscan", "modelscan", by_modelscan),
    "pixellift": Opener("PixelLift", "", by_pixellift),
}


def child(name: str, path: str) -> None:
    """Open the file, and tell on the last line of standard output what came of it."""
    opener = OPENERS[name]
    for package in ("torch", opener.package):  # before the clock: their imports are not what is measured
        if package and package != "spandrel":
            importlib.import_module(package)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    try:
        outcome, error = opener.opens(path), ""
    except (Exception, SystemExit) as caught:
        outcome, error = "refused", f"{type(caught).__name__}: {caught}"
    seconds = time.monotonic() - start
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    answer = {"outcome": outcome, "error": error, "seconds": seconds, "kib": grown}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


# --- In the parent ------------------------------------------------------------------------------------------


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def opened(name: str, data: bytes) -> dict[str, Any]:
    """What comes of opening these bytes: outcome, error, seconds, KiB that the process grew by, whether code ran."""
    root = str(Path(__file__).resolve().parents[1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "checkpoint.pkl"
        path.write_bytes(data)
        command = [sys.executable, "-m", "tools.hostile_loaders", "--child", name, path.name]
        environment = {**os.environ, "PYTHONPATH": root, "HOME": folder, "PYTHONSAFEPATH": "1"}
        try:
            done = subprocess.run(  # noqa: S603  # our own program
                command,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=2 * SECONDS,
                preexec_fn=limit,
                check=False,
            )
            answer: dict[str, Any] = {
                "outcome": "died",
                "error": f"code {done.returncode}",
                "seconds": 0.0,
                "kib": 0,
            }
            with contextlib.suppress(ValueError, IndexError):
                answer = json.loads(done.stdout.splitlines()[-1])
        except subprocess.TimeoutExpired:
            answer = {"outcome": "died", "error": "too long", "seconds": 2.0 * SECONDS, "kib": 0}
        answer["ran"] = (Path(folder) / "attacked").exists()
    return answer


def written(attack: str) -> bytes:
    """The bytes of a checkpoint of the public layout with an attack of the tests in it."""
    from tests.ganworks.importing import test_hostile, writer

    snapshot = writer.snapshot("skip")
    if attack in test_hostile.ATTACKS:
        test_hostile.ATTACKS[attack][0](snapshot)
    data = writer.pickled(snapshot)
    return data[: len(data) // 2] if attack == "truncated" else data


def installed(opener: Opener) -> bool:
    return not opener.package or importlib.util.find_spec(opener.package) is not None


def cell(answer: dict[str, Any]) -> str:
    if answer["ran"]:
        return "**ran it**"
    return str(answer["outcome"]).partition(" ")[0]


def main() -> None:
    """Print the table as Markdown; with --words the errors, seconds and memory too."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--words", action="store_true")
    arguments = parser.parse_args()
    openers = {name: opener for name, opener in OPENERS.items() if installed(opener)}
    lines = [
        f"| file | {' | '.join(opener.label for opener in openers.values())} |",
        "|---" * (len(openers) + 1) + "|",
    ]
    words = []
    for attack in ATTACKS:
        data = written(attack)
        answers = {name: opened(name, data) for name in openers}
        lines.append(f"| {attack} | {' | '.join(cell(answer) for answer in answers.values())} |")
        words += [
            f"{attack}, {name}: {'RAN, ' if answer['ran'] else ''}{answer['outcome']} {answer['error'][:300]!r}, "
            f"{answer['seconds']:.2f} s, {answer['kib'] / 1024:.0f} MiB"
            for name, answer in answers.items()
        ]
    packages = sorted({opener.package for opener in openers.values() if opener.package})
    versions = ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)
    lines += ["", f"Python {sys.version.split()[0]}, {versions}", *(words if arguments.words else [])]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(*sys.argv[2:4])
    else:
        main()
