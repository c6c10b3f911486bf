"""Which desk an article belongs to: by the company's rules, else by meaning."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar

from graph.retrieval.company import Company, Desk
from graph.retrieval.sources import Document

if TYPE_CHECKING:  # which ask for desks
    from graph.retrieval.articles import Article

_BEGINNING = 400  # characters of an article that tell what it is about
_BATCH = 64  # texts embedded in one request
_NEAREST = 3  # texts of a desk that decide how near it is

RULED: Final = 24
"""Articles of a desk that others are compared with."""

Vector = Sequence[float]

Embed = Callable[[Sequence[str]], Awaitable[list[list[float]]]]
"""Returns one vector for each text."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Rule:
    """The rule by which an article belongs to a desk."""

    desk: str
    label: str
    """A name of Document.labels."""
    pattern: str


def rule_of(document: Document, company: Company) -> Rule | None:
    """Return the rule that names the document's desk; None if none does.

    Of several desks' rules the first desk's in the file decides, but those of the company's first desk, where
    everything else goes, come last.
    """
    for desk in company.first_last:
        for label, patterns in desk.rules.items():
            for pattern in patterns:
                values = document.labels.get(label, ())
                if any(_matches(value, pattern, is_folder=label == "folder") for value in values):
                    return Rule(desk.name, label, pattern)
    return None


def desk_of(document: Document, company: Company) -> str | None:
    """Return the desk that the company's rules name; None if none does and there are several desks."""
    if len(company.desks) == 1:
        return company.desks[0].name
    rule = rule_of(document, company)
    return rule.desk if rule else None


async def desks_by_meaning(articles: "Sequence[Article]", company: Company, embed: Embed) -> dict[str, str]:
    """Return the nearest desk of each article that has none, by the article's id; raises what `embed` raises.

    An article's title and beginning are compared with what each desk is about, its examples, and articles that rules
    gave to it. That takes one request for 64 texts.
    """
    open_ = [article for article in articles if article.desk is None]
    ruled = [article for desk in company.desks for article in _ruled(desk, articles)]
    texts = [text for _, text in said_of(company)]
    if not open_:
        return {}
    if not (texts or ruled):
        return {article.id: company.desks[0].name for article in open_}
    compared = [*texts, *map(_meaning, ruled), *map(_meaning, open_)]
    vectors: list[list[float]] = []
    for start in range(0, len(compared), _BATCH):
        vectors += await embed(compared[start : start + _BATCH])
    told, of_articles = vectors[: len(texts)], vectors[len(texts) :]
    by_id = {article.id: vector for article, vector in zip([*ruled, *open_], of_articles, strict=True)}
    return nearest_desks(articles, company, told, by_id)


def said_of(company: Company) -> list[tuple[str, str]]:
    """Return what is said of the desks: each desk's name with what it is about, or with an example."""
    return [(desk.name, text) for desk in company.desks for text in (*filter(None, (desk.about,)), *desk.examples)]


def nearest_desks(
    articles: "Sequence[Article]", company: Company, said: Sequence[Vector], vectors: Mapping[str, Vector]
) -> dict[str, str]:
    """Return the nearest desk of each article that has none, by the article's id.

    `said` are the vectors of what `said_of` returns, and `vectors` those of articles by their ids; one that has none
    stays without a desk.
    """
    open_ = [article for article in articles if article.desk is None and article.id in vectors]
    ruled = [article for desk in company.desks for article in _ruled(desk, articles) if article.id in vectors]
    desks = [*(desk for desk, _ in said_of(company)), *(article.desk or "" for article in ruled)]
    if not (open_ and desks):
        return {}
    nearest = _nearest(desks, [*said, *(vectors[article.id] for article in (*ruled, *open_))])
    return {article.id: desk for article, desk in zip(open_, nearest, strict=True)}


def titles_by_desk(articles: "Iterable[Article]", decided: Mapping[str, str] | None = None) -> dict[str, list[str]]:
    """Return the titles of the articles that have a desk, by desk; `decided` has that of some by their ids."""
    titles: defaultdict[str, list[str]] = defaultdict(list)
    for article in articles:
        if desk := article.desk or (decided or {}).get(article.id):
            titles[desk].append(article.title)
    return titles


def spread(several: Sequence[_T], most: int) -> list[_T]:
    """Return at most `most` of several things, evenly spread."""
    if len(several) <= most:
        return list(several)
    return [several[place * len(several) // most] for place in range(most)]


def _ruled(desk: Desk, articles: "Iterable[Article]") -> "list[Article]":
    return spread([article for article in articles if article.desk == desk.name], RULED)


def _meaning(article: "Article") -> str:
    return f"{article.title}\n\n{article.text[:_BEGINNING]}"


def _nearest(desks: Sequence[str], vectors: Sequence[Vector]) -> list[str]:
    """Return the nearest desk of each vector after those of the desks' own texts."""
    import numpy as np  # it takes half a second, and an index in Postgres does without

    rows = np.array(vectors, np.float64)
    rows -= rows[: len(desks)].mean(axis=0) if len(set(desks)) > 1 else 0  # what they all have in common says nothing
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    near = rows[len(desks) :] @ rows[: len(desks)].T
    names = list(dict.fromkeys(desks))
    own = [[place for place, desk in enumerate(desks) if desk == name] for name in names]
    scores = [np.sort(near[:, places], axis=1)[:, -_NEAREST:].mean(axis=1) for places in own]
    return [names[int(place)] for place in np.stack(scores, axis=1).argmax(axis=1)]


def _matches(value: str, pattern: str, *, is_folder: bool) -> bool:
    value, pattern = _folded(value).strip("/"), _folded(pattern).strip("/")
    found = _compiled(pattern).fullmatch(value)
    return bool(found or (is_folder and _compiled(f"{pattern}/*").fullmatch(value)))


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern.replace("[", "[[]")))  # only * and ? are special
