"""The documents say what is so: every setting and command is named, no link leads nowhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("ganworks/starters/*/card.md")])
OPERATING = (ROOT / "docs" / "operating.md").read_text()
SETTING = re.compile(
    r'\benv\.(?:text|flag|whole|words|choice|device|hosts|mail|redis|token)\(\s*"([A-Z0-9_]+)"(?:, (\d[\d_]*))?[,)]'
)
LINK = re.compile(r"""(?:\]\(|\bsrc=")([^)"\s]+)""")


def settings_read() -> dict[str, str]:
    """Every environment variable that is read, with its default if that is a number."""
    code = "".join((ROOT / "pixellift" / name).read_text() for name in ("settings.py", "logs.py"))
    return {name: default.replace("_", "") for name, default in SETTING.findall(code)}


def row_of(setting: str) -> str:
    rows = [line for line in OPERATING.splitlines() if line.startswith("|") and f"`{setting}`" in line]
    assert rows, f"docs/operating.md does not name {setting}"
    return rows[0]


@pytest.mark.parametrize("setting", [*settings_read(), "SECRET_KEY"])
def test_every_setting_is_explained_to_operators(setting: str) -> None:
    assert row_of(setting).count("|") == 4


def test_numbers_that_are_said_to_be_the_default_are() -> None:
    wrong = {
        name: default for name, default in settings_read().items() if default and default not in row_of(name)
    }
    assert wrong == {}


def test_every_command_of_ours_is_explained_to_operators() -> None:
    commands = {path.stem for path in ROOT.glob("*/management/commands/[a-z]*.py")}
    assert commands
    assert {name for name in commands if name not in OPERATING} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_link_leads_nowhere(document: Path) -> None:
    links = [link for link in LINK.findall(document.read_text()) if "://" not in link]
    missing = [link for link in links if not (document.parent / link.partition("#")[0]).exists()]
    assert missing == []


def test_every_heading_that_is_linked_to_is_there() -> None:
    for document in DOCUMENTS:
        for link in LINK.findall(document.read_text()):
            path, _, anchor = link.partition("#")
            target = document.parent / path if path else document
            if "://" in link or not anchor or not target.exists():
                continue
            headings = re.findall(r"^#+ (.+)$", target.read_text(), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, (
                f"{document}: {link}"
            )
