"""The script that releases the image in production: its tag, its image and its notes."""

from collections.abc import Sequence
from typing import Any

import pytest

from harness.pipeline import BUILT, COMMIT, DIGEST, IMAGE, LOGIN, SERVERS
from harness.runner import Runner

CHANGES = "# Changelog\n\n## Unreleased\n\n- Next.\n\n## 1.2.0 - 2026-11-01\n\n- Now.\n\n## 1.1.0\n\n- Then.\n"


def release(
    runner: Runner,
    *,
    tag: str = "v1.2.0",
    version: str = "1.2.0",
    changes: str = CHANGES,
    deployed: bool = True,
    released: Sequence[str] = ("v1.1.0", "v1.3.0rc1"),
) -> tuple[int, str]:
    """Release a commit with this version and changelog by this tag, after these releases."""
    runner.recorder("docker", f"if 'inspect' in given:\n    print({DIGEST!r})\n    sys.exit({int(not deployed)})\n")
    runner.recorder(
        "gh",
        f"if 'list' in given:\n    print(*{released!r}, sep='\\n')\n"
        "else:\n    print(Path(given[given.index('--notes-file') + 1]).read_text())\n",
    )
    (runner.work / "pyproject.toml").write_text(f'[project]\nversion = "{version}"\n')
    (runner.work / "CHANGELOG.md").write_text(changes)
    done = runner.run("release.sh", **COMMIT, GITHUB_REF_NAME=tag)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("version", "released", "stable", "kind"),
    [
        ("1.2.0", [], True, "--latest"),
        ("1.2.0", ["v1.1.0", "v1.3.0rc1"], True, "--latest"),
        ("1.10.0", ["v1.9.0"], True, "--latest"),
        ("1.2.1", ["v1.2.0", "v1.10.0"], False, "--latest=false"),
        ("1.2.0rc1", ["v1.1.0"], False, "--prerelease"),
        ("1.2.0-1", ["v1.1.0"], False, "--prerelease"),
        ("1.2.0RC1", ["v1.1.0"], False, "--prerelease"),
    ],
)
def test_a_release_names_the_image_of_its_commit(
    runner: Runner, version: str, released: list[str], stable: bool, kind: str
) -> None:
    """The commit's images are verified and tagged, `stable` if they are the newest, with notes from the changelog."""
    changes = CHANGES.replace("1.2.0", version)
    status, said = release(runner, tag=f"v{version}", version=version, changes=changes, released=released)
    assert status == 0
    names = [f"--tag={IMAGE}:v{version}", *([f"--tag={IMAGE}:stable"] if stable else [])]
    programs = [call[:4] for call in runner.calls()]
    assert ["docker", "buildx", "build"] not in [program[:3] for program in programs]
    _, *inspects, verify, verify_servers, create, create_servers, publish = [
        call for call in runner.calls() if call != LOGIN
    ]
    assert [call[4] for call in inspects] == [f"{IMAGE}:production-c0ffee", f"{IMAGE}-servers:production-c0ffee"]
    assert verify[:2] == verify_servers[:2] == ["cosign", "verify"]
    assert (verify[-1], verify_servers[-1]) == (BUILT, SERVERS)
    assert create[1:] == ["buildx", "imagetools", "create", *names, BUILT]
    assert create_servers[4:] == [*(name.replace(IMAGE, f"{IMAGE}-servers") for name in names), SERVERS]
    assert publish[:5] == ["gh", "release", "create", f"v{version}", "--verify-tag"]
    assert publish[-1] == kind
    assert said.strip() == "- Now."


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"version": "1.1.0"}, "the version in pyproject.toml is not that of the tag v1.2.0"),
        ({"changes": "## Unreleased\n\n- Next.\n"}, "CHANGELOG.md has no section 1.2.0"),
        ({"changes": "## 1.2.0\n\n \n## 1.1.0\n\n- Then.\n"}, "CHANGELOG.md has no section 1.2.0"),
    ],
)
def test_a_release_that_is_not_prepared_is_refused(runner: Runner, wrong: dict[str, Any], message: str) -> None:
    """A wrong version or a missing changelog section stops it before anything is tagged or published."""
    status, said = release(runner, **wrong)
    assert (status, runner.calls()) == (1, [])
    assert said == f"::error::{message}\n"


def test_what_is_released_is_not_released_again(runner: Runner) -> None:
    """A repeated run is refused, since it would move `stable` back."""
    status, said = release(runner, released=["v1.3.0", "v1.2.0"])
    assert (status, len(runner.calls())) == (1, 1)
    assert said == "::error::v1.2.0 is already released: release a fix as a new version\n"


def test_a_release_of_an_unknown_image_is_refused(runner: Runner) -> None:
    """A missing signature stops the release before anything is published."""
    runner.recorder("cosign", "sys.exit(1)")
    assert release(runner)[0] == 1
    assert not [call for call in runner.calls() if "create" in call]


def test_a_release_of_what_was_not_deployed_is_refused(runner: Runner) -> None:
    """An image that never reached production is not tagged or published."""
    status, said = release(runner, deployed=False)
    assert status == 1
    assert not [call for call in runner.calls() if "create" in call]
    reason = "has reached production: the approval and the smoke tests come first"
    assert said == f"::error::No image {IMAGE} of c0ffee {reason}\n"


def test_what_has_reached_production_is_marked(runner: Runner) -> None:
    """The digest is marked, not whatever the commit's tag points at now."""
    runner.recorder("docker")
    assert runner.run("mark-image.sh", BUILT, SERVERS, **COMMIT).returncode == 0
    create = ["docker", "buildx", "imagetools", "create", "--tag"]
    marked = [(f"{IMAGE}:production-c0ffee", BUILT), (f"{IMAGE}-servers:production-c0ffee", SERVERS)]
    assert runner.calls() == [LOGIN, *([*create, *each] for each in marked)]
