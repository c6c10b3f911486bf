"""What every script in findings/ has in common; CI does not run them."""

import os
import re
import shlex
from pathlib import Path

import pytest

from conftest import REPOSITORY

FOLDER = Path(REPOSITORY, "findings")
SCRIPTS = sorted(FOLDER.glob("*.sh"))
PARTS = ("# Expected: ", "# Written down: ", "# Instead: ", "# Seen on 20", "# What we do: ")
LINES = (
    "set -euo pipefail",
    "folder=$(mktemp -d)",
    "trap 'rm -rf \"$folder\"' EXIT",
)
REGISTRY = re.compile(r"pypi\.org|pythonhosted|--(extra-)?index-url|--find-links")
OURS = re.compile(r"^\s*(from|import) (api|cli|evals|graph|local)\b", re.MULTILINE)
INSTALL = re.compile(r"/bin/pip\" install ((?:.*\\\n)*.*)\n")
FILE = re.compile(r"\b(?:api|cli|docs|evals|graph|local)/[\w/.-]+\.(?:md|py)\b")


def faults(script: str) -> list[str]:
    """Return what is wrong with the form of a script."""
    head = script.split("\nset -", 1)[0]
    packages = [
        word
        for command in INSTALL.findall(script)
        for word in shlex.split(command.replace("\\\n", " "))
        if not word.startswith("-")
    ]
    return [
        *(f"lacks {part!r}" for part in PARTS if head.count(f"\n{part}") != 1),
        *(f"lacks {line!r}" for line in LINES if f"\n{line}\n" not in script),
        *(f"does not pin {package}" for package in packages if "==" not in package),
        *(["installs nothing"] if not packages else []),
        *(["names a registry"] if REGISTRY.search(script) else []),
        *(["imports our code"] if OURS.search(script) else []),
        *(["prints no versions"] if "version(" not in script else []),
        *(["can't fail"] if '"The behaviour has changed."' not in script else []),
        *(f"names {file}, which does not exist" for file in FILE.findall(head) if not Path(REPOSITORY, file).exists()),
    ]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_every_script_has_the_same_form(script: Path) -> None:
    """It can be run, explains itself, pins what it installs, cleans up, and uses no code of ours."""
    assert os.access(script, os.X_OK)
    assert faults(script.read_text()) == []


def test_the_table_lists_every_script() -> None:
    """The README names each script once, and no other."""
    named = re.findall(r"^\| `(.+?\.sh)` \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert named == [script.name for script in SCRIPTS]


@pytest.mark.parametrize(
    ("right", "wrong", "fault"),
    [
        *((part, "# ", f"lacks {part!r}") for part in PARTS),
        *((line, "true", f"lacks {line!r}") for line in LINES),
        ("redis==8.1.0", "redis", "does not pin redis"),
        ("pip-version-check ", "pip-version-check --index-url https://example.com ", "names a registry"),
        ("import asyncio\n", "import asyncio\nfrom graph import redis\n", "imports our code"),
        ("version(", "(", "prints no versions"),
        ("The behaviour has changed.", "", "can't fail"),
        ("graph/redis.py", "graph/gone.py", "names graph/gone.py, which does not exist"),
    ],
)
def test_a_fault_is_named(right: str, wrong: str, fault: str) -> None:
    """Each rule rejects a script that breaks it."""
    script = (FOLDER / "uvloop-reset.sh").read_text()
    assert right in script
    assert fault in faults(script.replace(right, wrong))
