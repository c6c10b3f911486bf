"""The rights of a Redis user, as docs/deploy.md lists them."""

import re

from conftest import REPOSITORY

_RULES = re.compile(r"^ACL SETUSER support-agent on (.*?)\n```", re.DOTALL | re.MULTILINE)


def documented_rules() -> list[str]:
    """Return the rules for keys and commands."""
    found = _RULES.search((REPOSITORY / "docs/deploy.md").read_text("utf-8"))
    assert found
    return [rule for rule in found[1].replace("\\\n", " ").split() if not rule.startswith(">")]
