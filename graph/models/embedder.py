"""The embedding model: requests of the size that its server takes, and texts of the length that it reads."""

import base64
import logging
import re
import sys
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from operator import itemgetter
from typing import cast

import openai

from graph.errors import ContextTooLong, ModelRefused, ModelUnavailable
from graph.models.dialect import Dialect
from graph.models.faults import kind_of, server_error, status_of
from graph.models.wire import Json, Wire

_PATH = "/embeddings"
PROBE = "ok"
"""A text that no model is too small for."""
_SHORTEST = 32  # characters; a text that is refused although it is no longer is not refused for its length
_MARGIN = 0.95  # of the length that should fit, since tokens are not spread evenly
_REFUSALS = frozenset({400, 413, 422})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Embedded:
    """What became of a text that was to be embedded."""

    vector: list[float] | None
    """None if the model refuses the text."""
    trouble: str = ""
    """Why it is refused, or that only its beginning is embedded."""


class Embedder:
    """An embedding model of the server at the other end of a wire.

    A request that is refused is sent again in halves, and a single text is cut, if the server takes other texts: some
    servers answer 500 to a text that is too long. What only a text causes raises ModelRefused, never the server's
    error.
    """

    def __init__(self, wire: Wire, model: str, dialect: Dialect | None = None) -> None:
        self.model_name = model
        self._wire = wire
        self._path = wire.path(model, _PATH)
        self._dialect = dialect or Dialect(model)
        self._most: int | None = None  # texts that one request may have
        self._has_cut = False
        self.halved = 0
        """Requests that were refused and sent again in halves."""

    def on(self, wire: Wire) -> "Embedder":
        """Return the same model at the end of another wire to its server."""
        return Embedder(wire, self.model_name, self._dialect)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return the vectors of the texts; as many as the server sent."""
        vectors: list[list[float]] = []
        for each in await self._each(texts):
            if each.vector is None:
                raise ModelRefused(f"the embedding model refuses a text ({each.trouble})")
            vectors.append(each.vector)
        return vectors

    async def embed_each(self, texts: Sequence[str]) -> list[Embedded]:
        """Return what became of each text; one whose vector can't be used is asked for once more, and then refused.

        A reply with another number of vectors raises ModelUnavailable.
        """
        found = await self._each(texts)
        if len(found) != len(texts):
            raise ModelUnavailable("invalid embedding vectors")
        for place, text in enumerate(texts):
            if _is_odd(found[place]) and (again := await self._each([text])):
                found[place] = again[0]
            if _is_odd(found[place]):
                found[place] = Embedded(None, "its vector is zero, or not made of numbers")
        return found

    async def _each(self, texts: Sequence[str]) -> list[Embedded]:
        most = self._most or len(texts)
        if len(texts) > most:
            return [each for at in range(0, len(texts), most) for each in await self._each(texts[at : at + most])]
        try:
            return await self._vectors(texts)
        except openai.APIError as error:
            return await self._smaller(texts, error)

    async def _smaller(self, texts: Sequence[str], error: openai.APIError) -> list[Embedded]:
        if not _may_be_the_texts(error):
            raise error
        if len(texts) == 1 or status_of(error) == 500:
            if not (_is_too_long(error) or await self._takes_others()):
                raise error
            if status_of(error) == 500 and not _is_too_long(error):
                try:
                    return await self._vectors(texts)  # perhaps it passed
                except openai.APIError as again:
                    if not _may_be_the_texts(again):
                        raise
        if len(texts) == 1:
            return await self._cut(texts[0], error)
        half = (len(texts) + 1) // 2
        self.halved += 1
        found = [*await self._each(texts[:half]), *await self._each(texts[half:])]
        is_whole = all(each.vector and not each.trouble for each in found)  # else one of the texts is at fault
        if is_whole and _is_too_many(error) and half < (self._most or len(texts)):
            self._most = half
            _log.warning("embedding model %s refuses %d texts at once; it gets %d", self.model_name, len(texts), half)
        return found

    async def _cut(self, text: str, error: openai.APIError) -> list[Embedded]:
        """Embed as much of the beginning of a text as the model takes."""
        length = len(text)
        while length > _SHORTEST:
            length = _fitting(length, error)
            try:
                found = await self._vectors([text[:length]])
            except openai.APIError as again:
                if not _may_be_the_texts(again):
                    raise
                error = again
            else:
                if not self._has_cut:
                    self._has_cut = True
                    _log.warning(
                        "embedding model %s does not take a text of %d characters; only the beginning of such texts "
                        "can be found",
                        self.model_name,
                        len(text),
                    )
                return [replace(each, trouble=f"it takes {length} of {len(text)} characters") for each in found]
        return [Embedded(None, f"HTTP {status_of(error)}")]

    async def _takes_others(self) -> bool:
        try:
            await self._vectors([PROBE])
        except Exception:  # noqa: BLE001 - whatever it is, it is not the text
            return False
        return True

    async def _vectors(self, texts: Sequence[str]) -> list[Embedded]:
        payload = {"input": list(texts), "model": self.model_name, "encoding_format": "base64"}
        reply = await self._dialect.request(payload).send(self._wire, self._path)
        return [Embedded(_vector(item["embedding"])) for item in _in_order(reply["data"])]


def is_usable(vector: Sequence[float]) -> bool:
    """Whether a vector has a direction."""
    return any(vector) and isfinite(sum(vector))


def _is_odd(embedded: Embedded) -> bool:
    return embedded.vector is not None and not is_usable(embedded.vector)


def _in_order(items: Sequence[Json]) -> Sequence[Json]:
    """Return a reply's items in the order of the texts: by their index, where each has one of its own."""
    indexes = [item.get("index") for item in items]
    if set(indexes) != set(range(len(items))):
        return items
    return sorted(items, key=itemgetter("index"))


def _may_be_the_texts(error: openai.APIError) -> bool:
    return server_error(error) is not None and (_is_too_long(error) or status_of(error) in (*_REFUSALS, 500))


def _is_too_long(error: openai.APIError) -> bool:
    return kind_of(error) is ContextTooLong


def _is_too_many(error: openai.APIError) -> bool:
    """Whether the number of texts is at fault, and not what they have in them."""
    says_so = re.search(r"batch size", str(error.body), re.IGNORECASE)
    return bool(says_so) if _is_too_long(error) else status_of(error) != 500


def _fitting(length: int, error: openai.APIError) -> int:
    """Return the length that should fit: by the tokens that the error names, else half of it."""
    tokens = sorted({int(number) for number in re.findall(r"\b\d{2,7}\b", str(error.body))})
    share = tokens[-2] / tokens[-1] * _MARGIN if len(tokens) > 1 else 0
    return int(length * share) if 0.05 < share < 1 else length // 2


def _vector(embedding: object) -> list[float]:
    """Return the numbers of an embedding, sent as base64 of 32-bit little-endian floats, or as a list."""
    if isinstance(embedding, str):
        numbers = array("f", base64.b64decode(embedding))
        if sys.byteorder == "big":
            numbers.byteswap()
        return numbers.tolist()
    return cast("list[float]", embedding)
