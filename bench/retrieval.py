"""`python -m bench.retrieval`: how often a search finds the right article of a help centre.

It compares vectors alone, words alone and both, on passages and, with --whole, on whole articles. A question of the
file has `question` and `articles`, the ids of those that answer it, and it may have `history`, the questions before it.
Without a configured model the offline model embeds.
"""

import asyncio
import contextlib
import json
import os
import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.progress import track
from rich.table import Table

from graph.models import Models, open_models
from graph.retrieval.articles import Library, read_library
from graph.retrieval.memory import MemoryIndex
from graph.retrieval.passages import ArticlePassage, passages_of
from graph.retrieval.search import ARTICLES, Search, fused
from graph.settings import AgentSettings
from local.model import start_model

_BATCH = 8  # texts in a request: a slow processor needs seconds for them
_DEPTH = 50  # passages of a ranking

_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the articles of which each answers it."""

    asked: tuple[str, ...]
    """As the graph searches: the question, and if there is an earlier one, both together."""
    right: frozenset[str]


@dataclass(frozen=True, slots=True)
class Row:
    """How well one way to search did."""

    name: str
    ranks: Sequence[int | None]
    """Where the first right article is in each question's list, from 1; None if it is not there."""

    def share(self, most: int) -> float:
        """Return the share of questions with a right article among the first `most`."""
        return sum(rank is not None and rank <= most for rank in self.ranks) / len(self.ranks)

    def mrr(self) -> float:
        """Return the mean reciprocal rank."""
        return sum(1 / rank for rank in self.ranks if rank) / len(self.ranks)


@_app.command()
def retrieval(
    folder: Annotated[Path, typer.Argument(help="The help centre.")],
    questions: Annotated[Path, typer.Argument(help="A YAML or JSONL file, or a folder of such.")],
    whole: Annotated[bool, typer.Option("--whole", help="Also search whole articles.")] = False,
) -> None:
    """Print how often a search finds the right article first, and among the first five."""
    library = read_library(AgentSettings(SUPPORT_KNOWLEDGE=str(folder)))
    articles = library.articles
    asked = _questions(questions, frozenset(article.id for article in articles))
    asyncio.run(_measure(library, asked, whole=whole))


async def _measure(library: Library, questions: Sequence[Question], *, whole: bool) -> None:
    console, articles = Console(), library.articles
    table = Table("", "right first", f"among {ARTICLES}", "MRR")
    notes: list[str] = []
    async with _models() as (models, name):
        vectors = [await models.embed(question.asked) for question in questions]
        kinds = (
            {"whole articles": [ArticlePassage(article, 0, "", article.text) for article in articles]} if whole else {}
        )
        for kind, passages in (kinds | {"passages": passages_of(articles)}).items():
            began = time.perf_counter()
            index = await _indexed(models, passages)
            notes.append(f"{kind}: {len(passages)}, embedded in {time.perf_counter() - began:.1f} s")
            search = Search(passages, library.company.language)
            for row in await _rows(search, index, questions, vectors, kind):
                table.add_row(row.name, f"{row.share(1):.1%}", f"{row.share(ARTICLES):.1%}", f"{row.mrr():.3f}")
            if kind == "passages":
                notes.append(await _prompts(search, index, questions, models))
    console.print(f"{len(articles)} articles, {len(questions)} questions, {name}")
    console.print(table)
    for note in notes:
        console.print(note)


async def _rows(
    search: Search, index: MemoryIndex, questions: Sequence[Question], vectors: Sequence[list[list[float]]], kind: str
) -> list[Row]:
    ways: dict[str, list[int | None]] = {"vectors": [], "words": [], "both": []}
    for question, meant in zip(questions, vectors, strict=True):
        near = [search.rows(keys) for keys in await index.nearest(meant, _DEPTH, None)]
        worded = [await search.by_words(text) for text in question.asked]
        both = [fused(pair) for pair in zip(near, worded, strict=True)]
        for way, rankings in zip(ways, (near, worded, both), strict=True):
            ways[way].append(_rank(search, [row for turn in _in_turn(rankings) for row in turn], question))
    return [Row(f"{way}, {kind}", ranks) for way, ranks in ways.items()]


def _in_turn(rankings: Sequence[Sequence[int]]) -> Iterable[list[int]]:
    for at in range(max(map(len, rankings))):
        yield [ranking[at] for ranking in rankings if at < len(ranking)]


def _rank(search: Search, rows: Iterable[int], question: Question) -> int | None:
    found = dict.fromkeys(search.passages[row].article.id for row in rows)
    return next((rank for rank, article in enumerate(found, 1) if article in question.right), None)


async def _prompts(search: Search, index: MemoryIndex, questions: Sequence[Question], models: Models) -> str:
    lengths: list[int] = []
    right = 0
    began = time.perf_counter()
    for question in questions:
        passages = await search.find(question.asked, index, models.embed)
        lengths.append(sum(len(passage["text"]) for passage in passages))
        right += any(passage["id"] in question.right for passage in passages)
    took = (time.perf_counter() - began) / len(questions)
    return (
        f"a search of both: {right / len(questions):.1%} of the questions get a right article; median "
        f"{median(lengths):.0f} characters for the prompt, at most {max(lengths)}; {took * 1000:.1f} ms a question"
    )


async def _indexed(models: Models, passages: Sequence[ArticlePassage]) -> MemoryIndex:
    index = MemoryIndex(len(passages), len((await models.embed(["How many dimensions?"]))[0]))
    for start in track(range(0, len(passages), _BATCH), "embedding", transient=True):
        batch = passages[start : start + _BATCH]
        vectors = await models.embed([passage.embedded for passage in batch])
        await index.add(list(zip(batch, vectors, strict=True)))
    return index


@contextlib.asynccontextmanager
async def _models() -> AsyncGenerator[tuple[Models, str]]:
    with contextlib.ExitStack() as stack:
        os.environ.setdefault("SUPPORT_ANSWER_TIMEOUT", "600")
        if not AgentSettings.load().has_model:
            service = stack.enter_context(start_model())
            service.wait()
            os.environ |= {"OPENAI_BASE_URL": service.url, "OPENAI_API_KEY": service.secret}
            name = "the offline embedding"
        else:
            name = AgentSettings.load().embedding
        async with open_models(AgentSettings.load()) as models:
            yield models, name


def _questions(path: Path, known: frozenset[str]) -> list[Question]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    cases = [case for file in files for case in _cases(file)]
    questions = [Question(_asked(case), frozenset(_names(case["articles"]))) for case in cases if case.get("articles")]
    if unknown := sorted({name for question in questions for name in question.right if name not in known}):
        raise typer.BadParameter(f"no such articles: {', '.join(unknown)}")
    if not questions:
        raise typer.BadParameter("no question names an article")
    return questions


def _cases(file: Path) -> list[dict[str, Any]]:
    text = file.read_text()
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return yaml.safe_load(text) or []


def _asked(case: dict[str, Any]) -> tuple[str, ...]:
    earlier: list[str] = case.get("history") or []
    question: str = case["question"]
    return (question, f"{earlier[-1]} {question}") if earlier else (question,)


def _names(articles: Iterable[str | list[str]]) -> Iterable[str]:
    for one in articles:
        yield from [one] if isinstance(one, str) else one


if __name__ == "__main__":
    _app()
