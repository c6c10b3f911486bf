#!/usr/bin/env bash
# Importing bm25s turns its debug lines on in a program that shows warnings only.
#
# Expected: a library leaves the level of its logger unset, so that the program's own level decides what is shown.
# Written down: the Python logging HOWTO, under "Configuring Logging for a Library": a library does not configure logging;
#   that is for the program. bm25s' documentation does not mention logging.
# Instead: the import sets the level of the logger `bm25s` to DEBUG. A level of a parent's does not hold for a logger that has
#   one of its own, so each index that is built writes a line to a log whose root is at WARNING.
# Seen on 2026-11-29:
#   root at WARNING: "Building index from tokens"; with the logger set to WARNING after the import: nothing
#   bm25s 0.3.16, Python 3.11.7
# What we do: graph/retrieval/words.py sets the level back.

set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check bm25s==0.3.16

"$folder/venv/bin/python" - <<'PYTHON'
import io
import logging
import platform
import sys
from importlib.metadata import version

log = io.StringIO()
logging.basicConfig(stream=log, level=logging.WARNING)
import bm25s


def lines():
    log.seek(0)
    log.truncate()
    bm25s.BM25().index([["refund", "card"], ["password", "reset"]], show_progress=False)
    return [line for line in log.getvalue().splitlines() if ":bm25s:" in line]


shown = lines()
logging.getLogger("bm25s").setLevel(logging.WARNING)
silent = lines()
print(f"root at WARNING: {shown}; with the logger set to WARNING after the import: {silent}")
print(f"bm25s {version('bm25s')}, Python {platform.python_version()}")
if not (shown and all(line.startswith("DEBUG") for line in shown) and not silent):
    sys.exit("The behaviour has changed.")
PYTHON
