"""`support-agent knowledge gaps`: which articles to write, from the questions that got no good answer."""

import asyncio
import json
import logging
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from api.settings import ServiceSettings
from cli.embedded import embedded
from cli.stored import reading_redis, with_redis
from graph.observe import KEPT_DAYS
from graph.observe.cases import case

if TYPE_CHECKING:
    from graph.observe.feedback import Rating
    from graph.observe.gaps import KeptGap
    from graph.retrieval.articles import Article, Library
    from graph.retrieval.missing import Misplaced, Topic

_MOST_QUESTIONS = 20  # of a topic, in a draft or as cases
_LONGEST_NAME = 60  # characters of a file's name

_WHY = {
    "nothing near": "no article is near",
    "not in it": "found, but it does not hold the answer",
    "rated badly": "answered from it, but rated badly",
}


@dataclass(frozen=True, slots=True)
class _Missing:
    """What the help centre lacks."""

    days: int
    topics: "Mapping[str, Topic]"
    """By names for files and cases: small letters and digits, joined by hyphens."""
    misplaced: "Sequence[Misplaced]"
    articles: "Mapping[str, Article]"
    """By their ids, as they are today."""
    more: int
    """Topics beyond the limit."""
    tenant: str | None = None
    """The only one that was looked at."""

    def named(self, article: str) -> str:
        """Return an article's title and id."""
        known = self.articles.get(article)
        return f"{known.title} ({article})" if known else f"{article}, which is gone"

    def nearest(self, topic: "Topic") -> str:
        """Say which article was found for a topic, and why it did not do."""
        return f"{self.named(topic.nearest)}: {_WHY[topic.reason]}" if topic.nearest else _WHY["nothing near"]


def gaps(
    since: Annotated[int, typer.Option(min=1, max=KEPT_DAYS, help="Days to look back.")] = 30,
    tenant: Annotated[str | None, typer.Option(help="Only what this tenant's customers asked.")] = None,
    below: Annotated[float, typer.Option(min=0, max=1, help="An answer rated below this is rated badly.")] = 0.5,
    limit: Annotated[int, typer.Option(min=1, help="Topics and articles to show.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    drafts: Annotated[Path | None, typer.Option(help="Folder to write a draft of each missing article to.")] = None,
    cases: Annotated[Path | None, typer.Option(help="File to write the questions to, as evaluation cases.")] = None,
) -> None:
    """Say which articles are missing or badly placed: questions not answered, or rated badly, by topic."""
    from graph.retrieval.articles import read_library

    logging.disable()  # what can't be read of the articles, `check` says
    settings = with_redis(ServiceSettings.load())
    with embedded(settings, redis=False) as started:
        library = read_library(settings)
        library.require(strict=False)
        started.wait()
        missing = asyncio.run(_missing(ServiceSettings.load().require(), library, since, tenant, below, limit))
    if as_json:
        print(json.dumps(_as_json(missing), ensure_ascii=False, indent=2))
    else:
        print("\n".join(_lines(missing)))
    if drafts:
        written = _write_drafts(missing, drafts)
        _tell(f"{written} drafts in {drafts}; {len(missing.topics) - written} are there already", as_json=as_json)
    if cases:
        found = [each for name, topic in missing.topics.items() for each in _cases(missing, f"gap-{name}", topic)]
        cases.write_text("\n".join(found), encoding="utf-8")
        _tell(f"{len(found)} cases in {cases}", as_json=as_json)


async def _missing(
    settings: ServiceSettings, library: "Library", days: int, tenant: str | None, below: float, limit: int
) -> _Missing:
    from graph.models import open_models
    from graph.retrieval.missing import misplaced, questions_without_answers, topics_of

    kept, ratings = await _stored(settings, days)
    asked = questions_without_answers(kept, ratings, below, days, tenant)
    async with open_models(settings) as models:
        topics = await topics_of(asked, library.articles, models.embed)
    bad = misplaced(ratings, below, tenant)
    known = {article.id: article for article in library.articles}
    return _Missing(days, _named(topics[:limit]), bad[:limit], known, max(0, len(topics) - limit), tenant)


def _named(topics: "Sequence[Topic]") -> "dict[str, Topic]":
    named: dict[str, Topic] = {}
    for topic in topics:
        question = unicodedata.normalize("NFKD", topic.questions[0].question).encode("ascii", "ignore").decode().lower()
        name = "-".join(re.findall(r"[a-z0-9]+", question))[:_LONGEST_NAME].strip("-") or "question"
        named[name if name not in named else f"{name}-{len(named) + 1}"] = topic
    return named


async def _stored(settings: ServiceSettings, days: int) -> "tuple[list[KeptGap], list[Rating]]":
    from graph.observe.feedback import Feedback
    from graph.observe.gaps import Gaps
    from graph.observe.redaction import Redactor

    async with reading_redis(settings) as redis:
        return await Gaps(redis, Redactor()).kept(), await Feedback(redis, Redactor()).latest(days)


def _lines(missing: _Missing) -> Iterator[str]:
    from graph.retrieval.articles import printable

    if not missing.topics:
        by = f" by {missing.tenant}" if missing.tenant else ""
        yield printable(f"nothing was asked{by} in {missing.days} days that was not answered, or rated badly")
    for topic in missing.topics.values():
        first = topic.questions[0]
        yield printable(f"{topic.times:>5}  {_one_line(first.question)} ({first.tenant})")
        asked = ", ".join(f"{times} by {tenant}" for tenant, times in topic.tenants.items())
        yield printable(f"       asked {asked}; rated badly {topic.rated_badly} times")
        yield printable(f"       nearest: {missing.nearest(topic)}")
    if missing.more:
        yield f"and {missing.more} more; --limit shows them"
    if missing.misplaced:
        yield "badly placed, since it was found for answers that were rated badly:"
    for one in missing.misplaced:
        yield printable(f"{one.rated_badly:>5}  of {one.found} rated answers: {missing.named(one.article)}")


def _as_json(missing: _Missing) -> dict[str, Any]:
    def article(name: str | None) -> dict[str, str | None] | None:
        known = missing.articles.get(name or "")
        return {"id": name, "title": known and known.title, "url": known and known.url} if name else None

    return {
        "days": missing.days,
        "topics": [
            {
                "question": topic.questions[0].question,
                "asked": topic.times,
                "rated_badly": topic.rated_badly,
                "tenants": topic.tenants,
                "nearest": article(topic.nearest),
                "reason": topic.reason,
                "questions": [
                    {
                        "question": one.question,
                        "tenant": one.tenant,
                        "asked": one.times,
                        "rated_badly": one.rated_badly,
                        "category": one.category,
                    }
                    for one in topic.questions
                ],
            }
            for topic in missing.topics.values()
        ],
        "more": missing.more,
        "badly_placed": [
            {"article": article(one.article), "found": one.found, "rated_badly": one.rated_badly}
            for one in missing.misplaced
        ],
    }


def _write_drafts(missing: _Missing, folder: Path) -> int:
    """Write a draft for each topic, unless there is one; return how many were written."""
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for name, topic in missing.topics.items():
        try:
            with (folder / f"{name}.md").open("x", encoding="utf-8") as file:
                file.write(_draft(missing, topic))
            written += 1
        except FileExistsError:  # perhaps somebody has begun to write it
            pass
    return written


def _draft(missing: _Missing, topic: "Topic") -> str:
    """Return an article without a text, and in a comment, which no customer ever reads, what customers asked."""
    title = _one_line(topic.questions[0].question)
    head = yaml.safe_dump({"title": title, "draft": True}, allow_unicode=True, sort_keys=False, width=110)
    asked = [f"- {_one_line(one.question)} ({one.times} by {one.tenant})" for one in topic.questions[:_MOST_QUESTIONS]]
    about = f"Asked {topic.times} times in {missing.days} days. Nearest: {missing.nearest(topic)}."
    comment = "\n".join([about, "", *asked]).replace("--", "\u2013")  # so that none ends the comment
    return f"---\n{head}---\n\n<!--\n{comment}\n-->\n"


def _cases(missing: _Missing, intent: str, topic: "Topic") -> Iterator[str]:
    for number, one in enumerate(topic.questions[:_MOST_QUESTIONS], 1):
        about = {"asked": f"{one.times} by {one.tenant}", "nearest": missing.nearest(topic)}
        yield case(f"{intent}-{number}", intent, one.question, one.category, about)


def _one_line(text: str) -> str:
    """Return a text without line breaks, and without what would command a terminal."""
    from graph.retrieval.articles import printable

    return printable(" ".join(text.split()))


def _tell(line: str, *, as_json: bool) -> None:
    typer.echo(line, err=as_json)  # so that standard output is nothing but JSON
