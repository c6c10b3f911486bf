"""What a help centre lacks: questions that got no good answer, by topic, and articles that are found in vain."""

import re
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from graph.observe.feedback import Rating
from graph.observe.gaps import KeptGap, normal, shown
from graph.retrieval.articles import Article
from graph.retrieval.grouping import Vectors, grouped
from graph.retrieval.indexing import Vector
from graph.retrieval.names import Names
from graph.retrieval.passages import passages_of
from graph.retrieval.units import units

MOST = 5000
"""Questions that are grouped, those that were asked most."""

_DEVIATIONS = 2.25  # from the mean cosine of unrelated texts, for two texts to be about one thing: see decision 14
_SAMPLE = 200  # articles that tell how near unrelated texts are
_FEW = 20  # articles whose titles alone tell too little
_BATCH = 64  # texts embedded in one request
_PASSAGES = 20  # of an article, that a topic is compared with
_FEWEST = 3  # rated answers with an article among their sources, before anything is said of it
_MASKS = re.compile(r"\[\w+\]")

Embed = Callable[[Sequence[str]], Awaitable[Sequence[Vector]]]
Reason = Literal["nothing near", "not in it", "rated badly"]


@dataclass(slots=True)
class Asked:
    """A question that got no good answer, as a tenant's customers have worded it."""

    tenant: str
    question: str
    """Masked; of a topic without names too."""
    category: str | None
    unanswered: int = 0
    """How often it was not answered."""
    answered_badly: int = 0
    """How often it was answered, and the answer was rated badly."""
    rated_badly: int = 0
    """How often it was rated badly, answered or not."""
    sources: Sequence[str] = ()
    """The ids of the articles found, best first."""

    @property
    def times(self) -> int:
        """How often it got no good answer."""
        return self.unanswered + self.answered_badly


@dataclass(frozen=True, slots=True)
class Topic:
    """Questions about one thing, those that were asked most first."""

    questions: Sequence[Asked]
    nearest: str | None
    """The id of the article that was found for it."""
    reason: Reason
    """Why that did not do."""

    @property
    def times(self) -> int:
        """How often they got no good answer."""
        return sum(asked.times for asked in self.questions)

    @property
    def rated_badly(self) -> int:
        """How often they were rated badly."""
        return sum(asked.rated_badly for asked in self.questions)

    @property
    def tenants(self) -> Mapping[str, int]:
        """How often each tenant's customers asked, the most first."""
        counts = Counter[str]()
        for asked in self.questions:
            counts[asked.tenant] += asked.times
        return dict(counts.most_common())


@dataclass(frozen=True, slots=True)
class Misplaced:
    """An article that was found for many answers, most of which were rated badly."""

    article: str
    """Its id."""
    found: int
    """How many rated answers have it among their sources."""
    rated_badly: int


def questions_without_answers(
    gaps: Iterable[KeptGap], ratings: Iterable[Rating], below: float, days: int, tenant: str | None = None
) -> list[Asked]:
    """Return the questions of the last days that were not answered, or rated `below` a score; those asked most first.

    Small talk, which has no sources, and runs that failed are none.
    """
    found: dict[tuple[str, str], Asked] = {}

    def asked(by: str, question: str, category: str | None, sources: Sequence[str]) -> Asked:
        question = shown(question)
        one = found.setdefault((by, normal(question)), Asked(by, question, category))
        one.sources = sources or one.sources
        return one

    for kept in gaps:
        if times := kept.times(days):
            asked(kept.gap.tenant, kept.gap.question, kept.gap.category, kept.gap.sources).unanswered += times
    for rating in ratings:
        record = rating.record
        if rating.score >= below or record.answer is None or not record.sources:
            continue
        one = asked(record.tenant, record.question, record.category, record.sources)
        one.rated_badly += 1
        one.answered_badly += record.answered
    wanted = [one for one in found.values() if one.times and tenant in (None, one.tenant)]
    return sorted(wanted, key=lambda one: -one.times)


async def topics_of(asked: Sequence[Asked], articles: Sequence[Article], embed: Embed) -> list[Topic]:
    """Return the questions by topic, with names masked, the topic that was asked most first; raises ModelError."""
    asked = asked[:MOST]
    if not asked:
        return []
    scale = await _Scale.of(articles, embed)
    vectors = await _embedded([_MASKS.sub("", one.question) for one in asked], embed)
    groups = grouped(vectors, scale.question)
    names = Names((text for article in articles for text in (article.title, article.text)), [a.question for a in asked])
    asked = [replace(one, question=names.masked(one.question)) for one in asked]
    nearest = [_found_for([asked[row] for row in rows]) for rows in groups]
    passages = passages_of(article for article in articles if article.id in nearest)
    passages = [passage for passage in passages if passage.number < _PASSAGES]
    of_passages = await _embedded([passage.text for passage in passages], embed)
    places: defaultdict[str | None, list[int]] = defaultdict(list)
    for place, passage in enumerate(passages):
        places[passage.article.id].append(place)
    topics: list[Topic] = []
    for rows, article in zip(groups, nearest, strict=True):
        (centre,) = units([vectors[rows].sum(axis=0).tolist()])
        to_centre = vectors[rows] @ centre
        order = sorted(range(len(rows)), key=lambda n: _order(asked[rows[n]], float(to_centre[n])))
        is_near = any(of_passages[place] @ centre >= scale.article for place in places[article])
        questions = [asked[rows[n]] for n in order]
        topics.append(Topic(questions, article, _reason(questions, is_near=is_near)))
    return sorted(topics, key=lambda topic: (-topic.times, -topic.rated_badly))


def misplaced(ratings: Iterable[Rating], below: float, tenant: str | None = None) -> list[Misplaced]:
    """Return the articles that at least half of the rated answers with them were bad with, the most bad ones first."""
    found, bad = Counter[str](), Counter[str]()
    for rating in ratings:
        if tenant in (None, rating.record.tenant):
            found.update(set(rating.record.sources))
            bad.update(set(rating.record.sources) if rating.score < below else ())
    often = [
        Misplaced(article, times, bad[article])
        for article, times in found.items()
        if times >= _FEWEST and 2 * bad[article] >= times
    ]
    return sorted(often, key=lambda one: (-one.rated_badly, one.found, one.article))


@dataclass(frozen=True, slots=True)
class _Scale:
    """How near texts must be to be about one thing: cosines of two embedding models can't be compared.

    Two articles' titles are about as long as questions, and rarely about one thing. Decision 14 has the measurements.
    """

    question: float
    """Cosine of two questions."""
    article: float
    """Cosine of a question and a passage."""

    @classmethod
    async def of(cls, articles: Sequence[Article], embed: Embed) -> "_Scale":
        """Measure it on the articles: each title with the others, and with the others' texts."""
        sample = [article for article in articles if article.title and article.text]
        sample = sample[:: max(1, len(sample) // _SAMPLE)]
        titles = await _embedded([article.title for article in sample], embed)
        texts = await _embedded([passages_of([article])[0].text for article in sample], embed)
        question, article = _above(titles @ titles.T), _above(titles @ texts.T)
        return cls(question if len(sample) >= _FEW else max(question, article), article)


def _above(near: Vectors) -> float:
    """Return which cosine hardly any two texts have that do not belong together, from all but the diagonal."""
    others = near[~np.eye(len(near), dtype=bool)]
    return float(others.mean() + _DEVIATIONS * others.std()) if others.size else 0.5


async def _embedded(texts: Sequence[str], embed: Embed) -> Vectors:
    found: list[Vector] = []
    for start in range(0, len(texts), _BATCH):
        found += await embed([text.strip() or "?" for text in texts[start : start + _BATCH]])
    return units(found) if found else np.empty((0, 0), np.float32)


def _found_for(asked: Sequence[Asked]) -> str | None:
    """Return the article that was found best for most of the questions."""
    weights: defaultdict[str, float] = defaultdict(float)
    for one in asked:
        for rank, article in enumerate(one.sources, 1):
            weights[article] += one.times / rank
    return max(weights, key=lambda article: weights[article], default=None)


def _order(asked: Asked, nearness: float) -> tuple[int, int, float]:
    return (-asked.times, len(_MASKS.findall(asked.question)), -nearness)


def _reason(asked: Sequence[Asked], *, is_near: bool) -> Reason:
    if sum(one.answered_badly for one in asked) > sum(one.unanswered for one in asked):
        return "rated badly"
    return "not in it" if is_near else "nothing near"
