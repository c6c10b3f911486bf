"""`support-agent eval` with an offline model that already runs."""

import subprocess
import sys
from collections.abc import Callable

Evaluate = Callable[..., subprocess.CompletedProcess[str]]
"""Runs an evaluation to its end."""

_EVAL = """\
import sys
from contextlib import nullcontext
from types import SimpleNamespace
from cli import embedded, main
url, secret = sys.argv[1:3]
embedded.start_model = lambda: nullcontext(SimpleNamespace(wait=lambda: url, secret=secret))
sys.argv[0:3] = ["support-agent"]
main.main()
"""


def evaluation(url: str, secret: str, *arguments: str) -> list[str]:
    """Return the command that evaluates with the model at `url` instead of starting one."""
    return [sys.executable, "-c", _EVAL, url, secret, "eval", *arguments]
