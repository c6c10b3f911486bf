"""Builds an image without Docker: executes a Dockerfile's steps, with `/` moved to an empty directory.

RUN is the same shell command, with every absolute path under that directory; COPY honours .dockerignore. In place of
the bases are directories of the test's, and this machine's own /usr/bin. The result runs as a container does: as
process 1, with the image's user and environment, and with nothing that can be written.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

import dockerfile
from docker.utils.build import exclude_paths

_SYSTEM = "/usr/bin:/bin"
_ABSOLUTE = re.compile(r"(?<![\w.*/}])/(?=[a-z])")
_PASSED_ON = re.compile(r"(?i)\w+_proxy|ssl_cert_\w+|uv_\w*(index|cert|tls)\w*")

READ_ONLY = """\
set -eu
mount --make-rprivate /
findmnt --raw --noheadings --output TARGET | grep -vE '^/(proc|sys|dev)(/|$)' | while read -r place; do
    mount -o remount,bind,ro "$place" 2>/dev/null || test "$place" != /
done
cd "$1"
user=$2
shift 2
exec setpriv --reuid "${user%:*}" --regid "${user#*:}" --clear-groups --no-new-privs --bounding-set=-all env -i "$@"
"""


@dataclass(frozen=True)
class Instruction:
    """A step of a Dockerfile."""

    name: str
    value: tuple[str, ...]
    flags: tuple[str, ...]
    is_list: bool
    """Whether it is in exec form, without a shell."""

    @property
    def pairs(self) -> dict[str, str]:
        """Return the names and values of an ENV or LABEL."""
        return {name: value.strip('"') for name, value in zip(self.value[::2], self.value[1::2], strict=True)}


def instructions(text: str) -> list[Instruction]:
    """Return the instructions as BuildKit's own parser reads them."""
    return [Instruction(one.cmd, one.value, one.flags, one.json) for one in dockerfile.parse_string(text)]


def context(folder: Path) -> set[str]:
    """Return the files in the build context of this folder."""
    lines = (folder / ".dockerignore").read_text().splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    sent = exclude_paths(str(folder), patterns) - {"Dockerfile", ".dockerignore"}  # files that no step may copy
    return {name for name in sent if not (folder / name).is_dir()}


@dataclass
class Image:
    """A stage during the build, and finally the image."""

    root: Path
    environment: dict[str, str]
    arguments: dict[str, str] = field(default_factory=dict[str, str])
    workdir: str = "/"
    user: str = "0:0"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    healthcheck: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict[str, str])

    def moved(self, text: str) -> str:
        """Return a text with its absolute paths moved under the image's root."""
        return _ABSOLUTE.sub(f"{self.root}/", text)

    def expand(self, text: str, variables: Mapping[str, str]) -> str:
        """Return a text with variables expanded."""
        return re.sub(r"\$\{?(\w+)\}?", lambda found: variables.get(found[1], ""), text)

    def configure(self, instruction: Instruction) -> None:
        """Apply an instruction that configures the image; raises ValueError for an unsupported one."""
        value = instruction.value
        match instruction.name:
            case "ENV":
                for name, text in instruction.pairs.items():
                    self.environment[name] = self.expand(self.moved(text), self.environment)
            case "LABEL":
                self.labels |= {name: self.expand(text, self.arguments) for name, text in instruction.pairs.items()}
            case "USER":
                self.user = value[0]
            case "ENTRYPOINT":
                self.entrypoint = value
            case "CMD":
                self.command = value
            case "HEALTHCHECK":
                self.healthcheck = value[1:]
            case "EXPOSE":
                pass
            case other:
                raise ValueError(f"{other} can't be executed here")

    def path(self, name: str) -> Path:
        """Return the path of a file of the image on this machine."""
        return self.root / os.path.normpath(Path(self.workdir, name)).lstrip("/")

    def start(
        self, command: Sequence[str], variables: Mapping[str, str], output: Path, *, root: Sequence[str]
    ) -> subprocess.Popen[bytes]:
        """Run a command on the image's read-only file system; `root` is a prefix that makes it root."""
        environment = [f"{name}={value}" for name, value in (self.environment | dict(variables)).items()]
        with output.open("wb") as file:
            return subprocess.Popen(
                [
                    *root,
                    *("unshare", "--mount", "--pid", "--fork", "--kill-child"),
                    *("sh", "-c", READ_ONLY, "sh", self.path("."), self.user),
                    *environment,
                    *(self.moved(part) if part.startswith("/") else part for part in command),
                ],
                stdout=file,
                stderr=subprocess.STDOUT,
            )


class Builder:
    """Executes a Dockerfile in a directory; `images` maps image names to directories."""

    def __init__(self, folder: Path, source: Path, images: Mapping[str, Path]) -> None:
        self._root = folder / "root"
        self._stages = folder / "stages"
        self._stages.mkdir()
        self._home = folder / "home"
        self._home.mkdir()
        self._source = source
        self._context = context(source)
        self._images = dict(images)
        self._built: dict[str, Image] = {}
        self._defaults: dict[str, str] = {}
        self._name = ""
        self._image: Image | None = None

    def build(self) -> Image:
        """Execute every instruction and return the image."""
        for instruction in instructions((self._source / "Dockerfile").read_text()):
            if instruction.name == "ARG" and self._image is None:
                name, _, value = instruction.value[0].partition("=")
                self._defaults[name] = value
            elif instruction.name == "FROM":
                self._from(instruction.value)
            else:
                assert self._image
                self._step(self._image, instruction)
        assert self._image
        return self._image

    def _from(self, value: Sequence[str]) -> None:
        if self._image:
            self._images[self._name] = self._root.rename(self._stages / self._name)
            self._built[self._name] = self._image
        local = f"{self._root}/usr/local"
        fresh = Image(self._root, {"PATH": f"{local}/bin:{_SYSTEM}", "LD_LIBRARY_PATH": f"{local}/lib"})
        base = fresh.expand(value[0], self._defaults)
        self._image = deepcopy(self._built.get(base, fresh))
        self._name = value[2] if len(value) > 1 else ""
        subprocess.run(["cp", "-a", self._images[base], self._root], check=True)

    def _step(self, image: Image, instruction: Instruction) -> None:
        value = instruction.value
        match instruction.name:
            case "RUN":
                self._run(image, value[0])
            case "COPY":
                self._copy(image, instruction.flags, value[:-1], value[-1])
            case "WORKDIR":
                image.workdir = str(Path(image.workdir, value[0]))
                image.path(".").mkdir(parents=True, exist_ok=True)
            case "ARG":
                name, _, text = value[0].partition("=")
                image.arguments[name] = text
            case _:
                image.configure(instruction)

    def _run(self, image: Image, command: str) -> None:
        passed_on = {name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)}
        done = subprocess.run(
            ["/bin/sh", "-c", image.moved(command)],
            cwd=image.path("."),
            env=passed_on | {"HOME": str(self._home)} | image.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"

    def _copy(self, image: Image, flags: Sequence[str], names: Sequence[str], to: str) -> None:
        target = image.path(to)
        stage = next((flag.removeprefix("--from=") for flag in flags if flag.startswith("--from=")), None)
        for name in names:
            if stage is None:
                found = {file for file in self._context if file == name or file.startswith(f"{name}/")}
                assert found, f"{name} is not in the context"
                source, files = self._source / name, {self._source / file for file in found}
            else:
                source, files = self._images[stage] / name.lstrip("/"), None
            if source.is_dir():
                _copy_tree(source, target, files)
            else:
                into = target / source.name if to.endswith("/") else target
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, into)


def _copy_tree(source: Path, target: Path, files: set[Path] | None) -> None:
    """Copy a folder; from the build context, only files that may be copied."""
    if files is None:
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cp", "-a", "-T", source, target], check=True)
    else:
        for file in files:
            into = target / file.relative_to(source)
            into.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, into)
            shutil.copymode(file.parent, into.parent)
