"""Programs that come with Debian's packages."""

import os
import shutil

import pytest


def program(name: str, package: str) -> str:
    """Return where a package's program is; a laptop may do without it, CI may not."""
    found = shutil.which(name)
    if found is None:
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up(f"{name} is not installed: apt-get install {package}")
    return found
