"""`support-agent key`."""

import re

import pytest

from api.auth import digest
from api.settings import ServiceSettings
from harness.commands import run


def test_a_key_is_shown_once_with_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """The output can be pasted into the configuration, and every key is new."""
    shown = [run("key", "web").stdout for _ in range(2)]
    found = re.fullmatch(r"key +(sa_[\w-]{43})\nSUPPORT_API_KEYS +(web:[0-9a-f]{64})\n", shown[0])
    assert found
    assert shown[0] != shown[1]
    monkeypatch.setenv("SUPPORT_API_KEYS", found[2])
    (key,) = ServiceSettings.load().api_keys
    assert (key.name, key.digest) == ("web", digest(found[1]))


@pytest.mark.parametrize("name", ["a b", "", "anonymous", "a" * 65, "a:b"])
def test_a_bad_name_is_refused(name: str) -> None:
    """One line says which names are allowed."""
    result = run("key", name)
    assert result.returncode == 1
    assert result.stderr.startswith("support-agent: name: must be 1 to 64 letters")
