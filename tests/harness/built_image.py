"""The image of this checkout, built without Docker, and its contents."""

import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from conftest import REPOSITORY
from harness.image import Builder, Image, context, instructions

DOCKERFILE = REPOSITORY / "Dockerfile"
SERVERS = REPOSITORY / "mcp_servers/Dockerfile"
"""That of the e-mail and calendar servers."""


def cloned(folder: Path, dockerfile: Path) -> Path:
    """Return a copy of the build context with the permissions of a clone under umask 077."""
    for name in {".dockerignore", *context(REPOSITORY)}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, folder / name)
    shutil.copyfile(dockerfile, folder / "Dockerfile")
    for path in folder.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return folder


@contextmanager
def built_image(dockerfile: Path = DOCKERFILE) -> Generator[Image]:
    """Build the image in a world-readable folder from files that only their owner can read."""
    folder = Path(tempfile.mkdtemp(prefix="image-"))
    try:
        folder.chmod(0o755)
        base = python(folder / "base")
        uv = shutil.which("uv")
        assert uv
        (folder / "uv").mkdir()
        (folder / "uv/uv").symlink_to(uv)
        steps = instructions(dockerfile.read_text())
        [named] = re.findall(r"--from=(\S+/uv:\S+)", dockerfile.read_text())
        bases = [one.value[0].partition("=")[2] for one in steps if one.name == "ARG" and "BASE=" in one.value[0]]
        yield Builder(
            folder, cloned(folder / "clone", dockerfile), {named: folder / "uv", **dict.fromkeys(bases, base)}
        ).build()
    finally:
        subprocess.run(["rm", "-rf", folder], check=True)


def python(base: Path) -> Path:
    """Build the stand-in for the base images: this Python and an installer, at their usual paths."""
    local = base / "usr/local"
    library = Path(sysconfig.get_path("stdlib"))
    left_out = shutil.ignore_patterns("site-packages", "dist-packages", "test", "__pycache__")
    shutil.copytree(library, local / "lib" / library.name, ignore=left_out, symlinks=True)
    for shared in (library.parent).glob("libpython3.*.so*"):
        shutil.copy2(shared, local / "lib", follow_symlinks=False)
    (local / "bin").mkdir()
    shutil.copy2(Path(sys.executable).resolve(), local / "bin" / library.name)
    (local / "bin/python3").symlink_to(library.name)
    (local / "lib" / library.name / "site-packages/pip").mkdir(parents=True)
    for installer in ("pip", "pip3"):
        (local / "bin" / installer).touch(0o755)
    (base / "tmp").mkdir()
    return base


def files(image: Image) -> list[Path]:
    return [file for file in image.path(".").rglob("*") if file.is_file() and not file.is_symlink()]


def distributions(image: Image) -> set[str]:
    """Return names and versions of the installed packages."""
    code = "from importlib.metadata import distributions as d; print(*{f'{x.name.lower()}=={x.version}' for x in d()})"
    python = image.path(".venv/bin/python")
    said = subprocess.run([python, "-c", code], env=image.environment, capture_output=True, text=True, check=True)
    return {name.replace("_", "-") for name in said.stdout.split()}
