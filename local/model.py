"""The offline model: a server that speaks OpenAI's API over static word vectors, for development without an API key.

It generates no text of its own. If every assistant turn in the prompt is one word, it answers with the label that the
nearest examples vote for. Otherwise it answers with the sentences of the given passages that are nearest to the
question, or says that they do not answer it (answering.py). The same prompt always gets the same answer.

    python -m local.model --port PORT   serve it; the API key is in OFFLINE_MODEL_KEY
"""

import argparse
import os
import sys
from collections.abc import Sequence

from local import WORDS
from local.process import LocalServiceError, Program, Service, answers, new_secret

KEY_VARIABLE = "OFFLINE_MODEL_KEY"

KEEP_ALIVE = 60
"""Seconds; longer than clients keep idle connections, so that the client closes first."""


def start_model() -> Service:
    """Start the offline model; its URL is an OpenAI base URL, and its secret is the API key.

    Raises LocalServiceError if its word vectors are missing, as in the container image.
    """
    if not WORDS.is_file():
        raise LocalServiceError(
            f"The offline model's word vectors (local/{WORDS.name}) are missing, as in the container image. Set "
            "OPENAI_API_KEY or OPENAI_BASE_URL."
        )
    key = new_secret()
    return Service(
        Program(
            name="The offline model",
            # -P: a file in the working directory must not shadow a module.
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
    """Serve the model that the command line describes."""
    parser = argparse.ArgumentParser(prog="python -m local.model", description="The offline model.")
    parser.add_argument("--port", type=int, required=True, help=f"serve on this port; the API key is in {KEY_VARIABLE}")
    _serve(parser.parse_args(arguments).port, os.environ[KEY_VARIABLE])


def _serve(port: int, key: str) -> None:
    """Serve on a port of the loopback interface until SIGTERM."""
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
