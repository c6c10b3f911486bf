"""Embedding what is to be indexed, with a patience of its own.

A customer waits for an answer, and nobody for an index: so a request may take minutes, one that the server refuses for
a while is repeated after the time that it names, and none of it opens the circuit breaker of customers' questions.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from functools import partial
from itertools import islice
from typing import TypeVar

from graph.errors import ModelError, ModelRefused, ModelTimeout, ModelUnavailable
from graph.models import Models
from graph.models.embedder import Embedded
from graph.models.faults import count, to_model_error
from graph.models.retries import is_transient, retry_after
from graph.retrieval.kept import Vector, VectorCache
from graph.retrieval.passages import ArticlePassage, hash_of

_BATCH = 16  # passages embedded in the first request
_MOST = 128  # in one request, of a server that is quick
_QUICK = 0.25  # seconds of a request after which the next one has twice as many
_LOOKED_UP = 256  # passages whose kept vectors are looked up at once
_SLOW = 20.0  # and after which it has half as many
_ATTEMPTS = 8
_FIRST_ATTEMPTS = 3  # of the first request of all: where the model is down, whoever waits for the start is told soon
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.25, 30.0  # seconds between attempts, twice as long before each further one
_LONGEST_TOLD = 120.0  # seconds that a server may make us wait
_FEW = 100  # passages that may be refused before any is taken

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

LeaveOut = Callable[[ArticlePassage, Embedded], None]
"""Gets each passage that the model refuses, and each that it takes the beginning of."""


async def dims_of(models: Models) -> int:
    """Return how many numbers a vector of the embedding model has; raises ModelError."""
    (vector,) = await _patiently(models, lambda: models.try_embed(["How many dimensions?"]), _FIRST_ATTEMPTS)
    return len(vector)


async def embed_passages(
    models: Models,
    passages: Sequence[ArticlePassage],
    kept: VectorCache,
    dims: int,
    leave_out: LeaveOut,
    taken: int = 0,
) -> AsyncGenerator[tuple[list[tuple[ArticlePassage, Vector]], int]]:
    """Yield the passages with their vectors of `dims` numbers, batch by batch, and how many were not kept before.

    One that the model refuses is missing; `taken` is how many it has taken before. Raises ModelError when the model
    can't be used, or refuses everything; what was embedded until then is kept.
    """
    batches, refused = _Batches(), 0
    cut: set[str] = set()

    def take_note(passage: ArticlePassage, embedded: Embedded) -> None:
        if embedded.vector:
            cut.add(passage.hash)
        leave_out(passage, embedded)

    for start in range(0, len(passages), _LOOKED_UP):
        part = [(passage, passage.hash) for passage in passages[start : start + _LOOKED_UP]]
        known = await kept.get([each for _, each in part])
        known = {each: vector for each, vector in known.items() if len(vector) == dims}
        while part:
            is_known = all(each in known for _, each in part)
            batch, part = (part, []) if is_known else (part[: batches.size], part[batches.size :])
            new = [(passage, each) for passage, each in batch if each not in known]
            began, halved = time.monotonic(), models.indexing.halved
            try:
                vectors = await _embed(models, new, dims, take_note) if new else {}
            except ModelError:
                if len(new) <= _BATCH:
                    raise
                batches.stay_small()  # perhaps it was too much at once, which servers say in many ways
                part = batch + part
                continue
            batches.adapt(len(new), time.monotonic() - began, is_halved=models.indexing.halved > halved)
            if vectors:
                await kept.put(vectors, cut)
            known |= {each: vector for each, vector in vectors.items() if vector}
            found = [(passage, known[each]) for passage, each in batch if each in known]
            taken, refused = taken + len(found), refused + len(batch) - len(found)
            if not taken and refused >= min(_FEW, len(passages)):
                raise ModelRefused("it refuses every passage")
            yield found, len(new)


class _Batches:
    """How many passages a request has: more and more of a server that is quick, until it has trouble with so many."""

    def __init__(self) -> None:
        self.size = _BATCH
        self._most = _MOST

    def adapt(self, sent: int, took: float, *, is_halved: bool) -> None:
        """Take note of a request: how many passages it had, its seconds, and whether it was sent again in halves."""
        if is_halved:
            self.stay_small()
        elif took > _SLOW:
            self.size = max(1, min(self.size, sent) // 2)
        elif took < _QUICK and sent == self.size:
            self.size = min(2 * self.size, self._most)

    def stay_small(self) -> None:
        """Have no more in a request than in the first one."""
        self._most = _BATCH
        self.size = min(self.size, _BATCH)


async def embed_texts(models: Models, texts: Sequence[str], kept: VectorCache) -> list[Vector]:
    """Return the texts' vectors, of which only those are made that are not kept; raises ModelError."""
    hashes = [hash_of(text) for text in texts]
    known = {each: vector for each, vector in (await kept.get(hashes)).items() if vector}
    new = {each: text for each, text in zip(hashes, texts, strict=True) if each not in known}
    for start in range(0, len(new), _BATCH):
        part = dict(islice(new.items(), start, start + _BATCH))
        found = await _patiently(models, partial(models.indexing.embed_each, list(part.values())), _FIRST_ATTEMPTS)
        vectors = {each: embedded.vector for each, embedded in zip(part, found, strict=True) if embedded.vector}
        if len(vectors) < len(part):
            raise ModelRefused("it refuses a text")
        await kept.put(vectors)
        known |= vectors
    return [known[each] for each in hashes]


async def _embed(
    models: Models, passages: Sequence[tuple[ArticlePassage, str]], dims: int, leave_out: LeaveOut
) -> dict[str, Vector]:
    """Return the passages' vectors by hash: an empty one where the model refuses it."""
    texts = [passage.embedded for passage, _ in passages]
    try:
        attempts = _ATTEMPTS if len(texts) <= _BATCH else 1
        found = await _patiently(models, lambda: models.indexing.embed_each(texts), attempts)
    except ModelTimeout:
        if len(texts) == 1:
            raise
        half = (len(passages) + 1) // 2
        first = await _embed(models, passages[:half], dims, leave_out)
        return first | await _embed(models, passages[half:], dims, leave_out)
    vectors: dict[str, Vector] = {}
    for (passage, each), embedded in zip(passages, found, strict=True):
        vectors[each] = embedded.vector or ()
        if embedded.vector and len(embedded.vector) != dims:
            raise ModelUnavailable(f"vectors of {len(embedded.vector)} numbers, the index has {dims}")
        if embedded.trouble:
            leave_out(passage, embedded)
    return vectors


async def _patiently(models: Models, call: Callable[[], Awaitable[_T]], attempts: int) -> _T:
    """Await `call()`, and repeat it while what fails may pass; raises ModelError."""
    model = models.indexing.model_name
    for attempt in range(1, attempts + 1):
        try:
            return await call()
        except Exception as error:
            count(model, error)
            failed = to_model_error(error)
            if attempt == attempts or not is_transient(error) or isinstance(failed, ModelTimeout):
                raise failed from error
            told = retry_after(error)
            pause = min(_SHORTEST_PAUSE * 2 ** (attempt - 1), _LONGEST_PAUSE) if told is None else told
            pause = min(pause, _LONGEST_TOLD)
            if pause >= 1:
                _log.warning("embedding model %s: %s; trying again in %g s", model, failed.reason, pause)
        await asyncio.sleep(pause)
    raise AssertionError("the last attempt returns or raises")
