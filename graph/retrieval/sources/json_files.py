"""JSON of others: read within limits, with errors that name the line."""

from pathlib import Path

import orjson

from graph.retrieval.sources import UnreadableError, limits
from graph.retrieval.sources.unpacking import megabytes


def read_json(path: Path) -> object:
    """Return what is in a JSON file; raises UnreadableError."""
    try:
        if path.stat().st_size > limits.FILE:
            raise UnreadableError(f"is longer than {megabytes(limits.FILE)}: split it")
        content = path.read_bytes()
    except OSError as error:
        raise UnreadableError(f"can't be read ({error.strerror})") from error
    try:
        return orjson.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:  # also for NaN, and for what is nested more than 1,024 deep
        raise UnreadableError("not valid JSON", error.lineno) from error
