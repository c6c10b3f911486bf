"""`support-agent eval` with an offline model that is already up."""

import sys

_EVAL = """\
import sys
from contextlib import nullcontext
from types import SimpleNamespace
from support_agent.cli import embedded, main
url, secret = sys.argv[1:3]
embedded.start_model = lambda: nullcontext(SimpleNamespace(wait=lambda: url, secret=secret))
sys.argv[0:3] = ["support-agent"]
main.main()
"""


def evaluation(url: str, secret: str, *arguments: str) -> list[str]:
    """Return the command that evaluates with the model at `url` in place of the one that it would start."""
    return [sys.executable, "-c", _EVAL, url, secret, "eval", *arguments]
