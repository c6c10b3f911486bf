#!/usr/bin/env bash
# One traced call keeps a Python process alive for minutes after its last line, while LangSmith does not answer.
#
# Expected: traces are sent in the background, and losing some is acceptable when LangSmith is down. So a process ends
#   within the seconds that an orchestrator gives it after SIGTERM: 10 in Docker, 30 in Kubernetes.
# Written down: LangSmith's page "Annotate code", under "Ensure all traces are submitted before exiting": without an
#   explicit flush a process may end before its traces are sent. `Client.close` has a `timeout` for a shutdown budget, but
#   LangChain's own client is never closed.
# Instead: the thread that sends traces is not a daemon (unless LANGSMITH_USE_DAEMON=true, which only the source names).
#   After the main thread has ended, it goes on with the queue and with retries of 10 s each, without a limit for the
#   whole. With a server that accepts connections and never answers, a process that has called a model once ended 375 s
#   after its last line.
# Seen on 2026-11-29:
#   after the last line the process lived for more than 60 s; tracing off: 1 s
#   langchain-core 1.8.3, langsmith 0.15.0, Python 3.11.7
# What we do: LangChain's tracing is off for all of our model calls. `graph/observe/tracing.py` has a client of its own,
#   whose thread is a daemon and gets a few seconds when the service stops.

set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check langchain-core==1.8.3 langsmith==0.15.0

"$folder/venv/bin/python" - <<'PYTHON'
import os
import platform
import socket
import subprocess
import sys
import time
from importlib.metadata import version

LONGEST = 60  # seconds
SCRIPT = """
from langchain_core.language_models import FakeListChatModel
FakeListChatModel(responses=["Hello"]).invoke("Hi")
print("the last line", flush=True)
"""

server = socket.create_server(("127.0.0.1", 0))  # the kernel accepts; nobody answers


def seconds_after_the_last_line(tracing):
    settings = {
        "LANGSMITH_TRACING": tracing,
        "LANGSMITH_API_KEY": "none",
        "LANGSMITH_ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}",
    }
    command = [sys.executable, "-c", SCRIPT]
    process = subprocess.Popen(
        command, env={**os.environ, **settings}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    if process.stdout.readline() != "the last line\n":
        sys.exit("The script failed.")
    began = time.monotonic()
    try:
        process.wait(LONGEST)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None
    return time.monotonic() - began


off, on = seconds_after_the_last_line("false"), seconds_after_the_last_line("true")
lived = f"more than {LONGEST} s" if on is None else f"{on:.0f} s"
print(f"after the last line the process lived for {lived}; tracing off: {off or 0:.0f} s")
print(f"langchain-core {version('langchain-core')}, langsmith {version('langsmith')}, Python {platform.python_version()}")
sys.exit(0 if on is None and off is not None and off < 10 else "The behaviour has changed.")
PYTHON
