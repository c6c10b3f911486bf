"""The runners and the virtual machine that scripts run on, and the built image."""

from collections.abc import Generator
from pathlib import Path

import pytest

from harness.built_image import SERVERS, built_image
from harness.image import Image
from harness.runner import Runner
from harness.vps import Machine


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """A GitHub runner whose cloud and registry programs only record their arguments."""
    machine = Runner(tmp_path)
    for name in ("gcloud", "aws", "kubectl", "cosign", "gh"):
        machine.recorder(name)
    machine.recorder("docker", "if '--password-stdin' in given:\n    sys.stdin.read()\n")
    return machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A virtual machine on which both replicas run the old image."""
    return Machine(tmp_path / "machine")


@pytest.fixture(scope="session")
def image() -> Generator[Image]:
    """The image, built once per test process."""
    with built_image() as built:
        yield built


@pytest.fixture(scope="session")
def servers_image() -> Generator[Image]:
    """The image of the e-mail and calendar servers, built once per test process."""
    with built_image(SERVERS) as built:
        yield built
