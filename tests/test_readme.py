"""README.md: the files of its map and the commands that it names are there."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from compute_nb.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "compute_nb"
MODULES = {path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py")}
FOLDERS = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*") if path.is_dir()}
MAP = README[README.index("**The thread of one task**") : README.index("Messages of both directions")]
ROWS = re.findall(r"^\| (?!where \||---)(.+?) \| (.+) \|$", MAP, re.MULTILINE)
COMMANDS = sorted(set(re.findall(r"^ {4}(compute-nb .+?)(?:  +#.*)?$", README, re.MULTILINE)))


def is_there(name: str) -> bool:
    """True for a module or folder of the package by the end of its path, and a folder of the checkout."""
    known = FOLDERS if name.endswith("/") else MODULES
    end = name.rstrip("/")
    return any(f"/{one}".endswith(f"/{end}") for one in known) or (ROOT / name).is_dir()


@pytest.mark.parametrize(("what", "where"), ROWS)
def test_files_of_the_map_are_there(what: str, where: str) -> None:
    named = re.findall(r"`([^`]+)`", where)
    assert named
    assert [name for name in named if not is_there(name)] == [], what


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_are_there(line: str) -> None:
    command: click.Command = main
    for word in line.split()[1:]:
        context = click.Context(command)
        if isinstance(command, click.Group):
            found = command.get_command(context, word)
            assert found is not None, word
            command = found
        elif option := re.match(r"\[?(--[\w-]+)", word):
            options = {name for parameter in command.params for name in parameter.opts}
            assert option[1] in options, word


def test_both_are_found() -> None:
    assert len(ROWS) > 20
    assert len(COMMANDS) > 4
