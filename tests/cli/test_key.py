"""The commands that only say something."""

import re

import pytest
from test_serve import run

from support_agent.api.auth import digest
from support_agent.api.settings import ServiceSettings


def test_a_key_is_shown_once_with_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed can be configured as it is; each key is another."""
    shown = [run("key", "web").stdout for _ in range(2)]
    found = re.fullmatch(r"key +(sa_[\w-]{43})\nSUPPORT_API_KEYS +(web:[0-9a-f]{64})\n", shown[0])
    assert found
    assert shown[0] != shown[1]
    monkeypatch.setenv("SUPPORT_API_KEYS", found[2])
    (key,) = ServiceSettings.load().api_keys
    assert (key.name, key.digest) == ("web", digest(found[1]))


@pytest.mark.parametrize("name", ["a b", "", "anonymous", "a" * 65, "a:b"])
def test_a_bad_name_is_refused(name: str) -> None:
    """In one line that says what a name may be."""
    result = run("key", name)
    assert result.returncode == 1
    assert result.stderr.startswith("support-agent: name: must be 1 to 64 letters")


def test_doctor_shows_what_was_saved(redis_url: str) -> None:
    """How Redis is, and how many answers came without asking the model; what is wrong is one line."""
    result = run("doctor", REDIS_URL=redis_url)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^Redis +answers", result.stdout, re.MULTILINE)
    assert re.search(r"^answers +\S.* came without asking the model", result.stdout, re.MULTILINE)
    assert "not configured" in run("doctor").stdout
    lost = run("doctor", REDIS_URL="redis://:secret-pw@127.0.0.1:1/0")
    assert lost.returncode == 1
    assert "REDIS_URL: Redis can't be reached" in lost.stderr
    assert "secret-pw" not in lost.stdout + lost.stderr
