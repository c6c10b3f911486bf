"""Standard output that can't be written: a full disk, or a pipe whose reader has gone."""

import os
import sys


def discard_output() -> None:
    """Write what is still buffered to nowhere; else the interpreter tries again when it ends, and exits with 120."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
