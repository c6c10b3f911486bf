"""Ship the vectors of all that a start and an evaluation embed.

With them the offline model is ready at once, and an evaluation ends alike on every maker's processor.

PYTHONPATH=tests uv run python -m harness.ship_vectors
"""

import asyncio
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from graph.retrieval.articles import read_library
from graph.retrieval.passages import passages_of
from graph.settings import AgentSettings
from harness.evaluating import evaluation
from harness.serving import serving
from local.answering import embedded
from local.server import create_server
from local.text import sentences
from local.vectors import SHIPPED, Kind, Name, Vectors, load, name_of

KEY = "of-a-model-that-notes-what-it-embeds"


class Noting(Vectors):
    """Vectors that record the texts that are embedded."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[tuple[str, Kind]] = set()

    async def of(self, texts: Sequence[str], kind: Kind) -> npt.NDArray[np.float32]:
        """Record the texts and return their vectors."""
        self.asked.update((text, kind) for text in texts)
        return await super().of(texts, kind)


def of_articles() -> Iterator[tuple[str, Kind]]:
    """Yield each article as the index embeds it, and its sentences as answers embed them."""
    for passage in passages_of(read_library(AgentSettings()).articles):
        text = passage.embedded
        yield text, "passage"
        title, _, body = text.partition("\n")
        for sentence in embedded(title, sentences(body)):
            yield sentence, "passage"


async def of_an_evaluation() -> set[tuple[str, Kind]]:
    """Return every text that a start and an evaluation embed."""
    noting = Noting()
    with tempfile.TemporaryDirectory() as folder:
        async with serving(create_server(noting, KEY)) as url:
            command = evaluation(f"{url}/v1", KEY, "--update-baseline")
            command += ["--baseline", f"{folder}/baseline.json", "--report", f"{folder}/report"]
            process = await asyncio.create_subprocess_exec(*command)
            if await process.wait() not in (0, 1):
                raise SystemExit("nothing is shipped: the evaluation did not come to its end")
    return noting.asked


def ship(texts: Iterable[tuple[str, Kind]], file: Path) -> tuple[int, int]:
    """Rewrite `file` with exactly these texts' vectors; return how many it had, and how many are new."""
    wanted: dict[Name, tuple[str, Kind]] = {name_of(text, kind): (text, kind) for text, kind in texts}
    known = load(file)
    vectors = Vectors(file)
    rows = {name: known[name] if name in known else vectors.compute(*wanted[name]) for name in sorted(wanted)}
    vectors.close()
    fresh = file.with_suffix(".new.npz")
    np.savez(
        fresh,
        names=np.frombuffer(b"".join(rows), np.uint8).reshape(len(rows), -1),
        vectors=np.array(list(rows.values()), np.float16),
    )
    os.replace(fresh, file)  # noqa: PTH105 - atomic
    kept = len(known.keys() & rows.keys())
    return kept, len(rows) - kept


if __name__ == "__main__":
    kept, computed = ship({*of_articles(), *asyncio.run(of_an_evaluation())}, SHIPPED)
    print(f"{kept} vectors kept, {computed} computed")  # noqa: T201 - a command line prints
