"""docs/your-company.md, done as it says."""

import re
import subprocess
from pathlib import Path

import pytest

from conftest import REPOSITORY
from harness.commands import COMMAND

PAGE = REPOSITORY / "docs/your-company.md"
UV = f"""#!/bin/sh
while [ "$1" != support-agent ]; do shift; done
shift
exec {COMMAND} "$@"
"""


def blocks(first: int, last: int) -> str:
    """Return the commands of some steps, and not what they print."""
    text = PAGE.read_text()
    steps = re.split(r"^## (?=\d+\.)", text, flags=re.MULTILINE)[first : last + 1]
    found = [block for step in steps for block in re.findall(r"^```\n(.*?)^```", step, re.DOTALL | re.MULTILINE)]
    return "\n".join(block for block in found if re.match(r"(mkdir|cat|echo|uv) ", block))


@pytest.mark.soak
def test_the_steps_lead_from_a_folder_to_an_answer(tmp_path: Path) -> None:
    """Steps 1 to 4 read the example's folder as it is, leave its draft out, and answer from it."""
    clone, programs = tmp_path / "clone", tmp_path / "programs"
    for folder in (clone, programs):
        folder.mkdir()
    (programs / "uv").write_text(UV)
    (programs / "uv").chmod(0o700)
    script = f"set -e\nPATH={programs}:$PATH\n{blocks(1, 4)}"
    ended = subprocess.run(["bash", "-c", script], cwd=clone, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "within 60 days of delivery" in ended.stdout
    assert "source    orders/returns" in ended.stdout
    assert "category  orders" in ended.stdout
    assert re.search(r"^read +2 articles", ended.stdout, re.MULTILINE)
    assert re.search(r"^left out +1: ", ended.stdout, re.MULTILINE)
    assert "89 euros" not in ended.stdout
