"""The chat and embedding models, with their time budgets, retries, circuit breakers and fallback.

Every call to the model's server goes through `with_retries`, the only place that retries.
"""

import asyncio
import logging
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic, Self, TypeVar

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.messages.ai import add_usage
from pydantic import SecretStr

from graph.breaker import Breaker
from graph.desk_prompt import DeskPrompt
from graph.errors import ContentFiltered, ContextTooLong, ModelError, ModelUnavailable
from graph.models.chat import Chat, Habits, Reply
from graph.models.embedder import PROBE as EMBEDDING_PROBE
from graph.models.embedder import Embedder, is_usable
from graph.models.faults import count, to_model_error
from graph.models.retries import is_down, with_retries
from graph.models.shorter import shortened
from graph.models.wire import Wire, open_wire
from graph.observe.report import ModelCall, begin_call, plausible_tokens
from graph.settings import AgentSettings

_LABEL_TOKENS = 5  # enough for a short name of a desk with any tokenizer
_ANSWER_TOKENS = 1000  # several times what the longest article needs
_SEVERAL = 12  # characters of a piece that may be several tokens
_LONG = 10  # characters that are at least one token: twice as many as in usual text
_CHARACTERS = 3  # characters of a script without spaces that are at least one token
_WITHOUT_SPACES = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")
_BREAKER_THRESHOLD = 5  # failed attempts in a row
_BREAKER_PAUSE = 5.0  # seconds
_CANCELLED = "cancelled"
PROBE = (SystemMessage("Reply with one word."), HumanMessage("Is anybody there?"))
"""A prompt that any chat model answers."""
_NO_KEY = SecretStr("not-needed")
_INDEXING_PATIENCE = 300.0  # seconds for a request of indexing: a slow processor may take half a minute for 16 passages

_log = logging.getLogger(__name__)
_M = TypeVar("_M", Chat, Embedder)


@dataclass(frozen=True, slots=True)
class Budget:
    """Time-outs for the stages of a turn, in seconds."""

    connect: float
    """For connecting to the model's server."""
    first_token: float
    """Until an attempt's first token, and between any two tokens."""
    total: float
    """For the whole turn, including retries and the fallback; a model that has a fallback gets half of it."""

    @classmethod
    def of(cls, total: float) -> Self:
        """Divide a turn of `total` seconds so that three attempts fit into it."""
        return cls(connect=total / 12, first_token=total / 3, total=total)


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[_M]):
    """A chat model or an embedding model, and its circuit breaker."""

    model: _M
    breaker: Breaker
    told: set[str] = field(default_factory=set[str])
    """What the log says of it, each thing once."""

    def warn_once(self, message: str) -> None:
        """Log a warning, unless it is logged already."""
        if message not in self.told:
            self.told.add(message)
            _log.warning(message)


@dataclass(frozen=True, slots=True)
class Models:
    """The models that the graph calls; all methods raise ModelError.

    Those called `try_…` make one attempt, past the circuit breaker, and raise the error as it is.
    """

    classifier: Endpoint[Chat]
    answerers: tuple[Endpoint[Chat], ...]
    """The answer model, then the fallback if one is configured."""
    embeddings: Endpoint[Embedder]
    indexing: Embedder
    """The embedding model with the patience that indexing has, and without the circuit breaker."""
    budget: Budget

    @property
    def endpoints(self) -> "tuple[Endpoint[Chat] | Endpoint[Embedder], ...]":
        """All of them."""
        return (self.classifier, *self.answerers, self.embeddings)

    async def classify(self, prompt: DeskPrompt, question: str) -> Reply:
        """Return the classifier's reply to a question."""
        model, breaker = self.classifier.model, self.classifier.breaker

        async def harmless() -> None:
            async with asyncio.timeout(self.budget.first_token):
                await model.reply(prompt.asking(PROBE[-1].text))

        return await with_retries(model.model_name, breaker, lambda: self.try_classify(prompt, question), harmless)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector per text, all of the same length."""
        endpoint = self.embeddings
        model, breaker = endpoint.model, endpoint.breaker

        async def harmless() -> None:
            async with asyncio.timeout(self.budget.first_token):
                await model.embed([EMBEDDING_PROBE])

        return await with_retries(model.model_name, breaker, lambda: self.try_embed(texts), harmless)

    async def try_embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector per text."""
        found = await self.embeddings.model.embed(texts)
        if len(found) != len(texts) or not all(map(is_usable, found)):
            raise ModelUnavailable("invalid embedding vectors")
        return found

    async def try_classify(self, prompt: DeskPrompt, question: str) -> Reply:
        """Return the classifier's reply to a question."""
        model, asked = self.classifier.model, prompt.asking(question)
        model.prepare(prompt.head, prompt.reply_tokens)
        room = model.max_tokens
        reply = await self._one_reply(model, asked)
        is_named = prompt.desk_in(reply.text, is_cut=reply.is_limited)
        if is_named or not (reply.is_limited and model.make_room(room)):
            return reply
        again = await self._one_reply(model, asked)
        return replace(again, usage=add_usage(reply.usage, again.usage))

    async def try_answer(self, endpoint: Endpoint[Chat], prompt: Sequence[BaseMessage]) -> None:
        """Wait for the first token of an answer, and ask for no more."""
        _, stream, *_ = await self._first_token(endpoint.model, prompt)
        await stream.aclose()

    async def answer(
        self, prompt: Sequence[BaseMessage], offer: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[Reply]:
        """Yield the answer, piece by piece; with an `offer` of tools it may have calls of these in place of text.

        A failure before the first token is retried, and then the fallback is used. After the first token nothing is
        retried. A prompt that is too long loses the older half of its turns, and at last all of them but the question.
        An answer that is too long is cut off, also where the server knows no limit.
        """
        begun, stream, call, model = await self._begin(prompt, offer)
        finished = False
        length = _Length()
        try:
            for piece in begun:
                yield length.limited(piece)
            finished = begun[-1].finish_reason is not None or length.is_reached
            while not length.is_reached and (piece := await anext(stream, None)):
                piece = length.limited(piece)
                call.add(piece.text, piece.usage)
                if piece.finish_reason is not None:
                    finished = True
                    _check_filter(piece)
                    if piece.is_limited and not length.is_reached:
                        model.make_room(None)
                yield piece
            if not finished:
                raise ModelUnavailable("the stream ended early")
        except Exception as error:
            if not finished or isinstance(error, ContentFiltered):  # otherwise only the usage is missing
                count(call.model, error)
                call.end(to_model_error(error).reason)
                raise to_model_error(error) from error
        finally:
            call.end(None if finished else _CANCELLED)
            await stream.aclose()

    async def _one_reply(self, model: Chat, prompt: Sequence[BaseMessage]) -> Reply:
        call = begin_call("classify", model.model_name, prompt)
        try:
            reply = await model.reply(prompt)
        except Exception as error:
            call.end(to_model_error(error).reason)
            raise
        else:
            call.add(reply.text, reply.usage)
            call.end()
            _check_filter(reply)
            return reply
        finally:
            call.end(_CANCELLED)

    async def _begin(self, prompt: Sequence[BaseMessage], offer: "_Offer") -> "_StartedStream":
        *preferred, last = self.answerers
        for endpoint in preferred:
            try:
                async with asyncio.timeout(self.budget.total / 2):
                    return await self._ask(endpoint, prompt, offer)
            except ContentFiltered:
                raise
            except (ModelError, TimeoutError) as error:
                _log.debug("using the fallback model: %s", to_model_error(error).reason)
        return await self._ask(last, prompt, offer)

    async def _ask(self, endpoint: Endpoint[Chat], prompt: Sequence[BaseMessage], offer: "_Offer") -> "_StartedStream":
        model, breaker = endpoint.model, endpoint.breaker
        too_long = ContextTooLong()
        for shorter in shortened(prompt):
            try:
                asked = partial(self._first_token, model, shorter, offer)
                return await with_retries(model.model_name, breaker, asked, lambda: self.try_answer(endpoint, PROBE))
            except ContextTooLong as error:
                too_long = error
        raise too_long

    async def _first_token(
        self, model: Chat, prompt: Sequence[BaseMessage], offer: "_Offer" = None
    ) -> "_StartedStream":
        room = model.max_tokens
        stream = model.replies(prompt, offer)
        begun: list[Reply] = []
        call = begin_call("answer", model.model_name, prompt)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.budget.first_token) as limit:
                async for piece in stream:
                    begun.append(piece)
                    call.add(piece.text, piece.usage)
                    _check_filter(piece)
                    if piece.text.strip() or piece.calls:
                        return begun, stream, call, model
                    if not piece.text:  # a thought, or another sign of life
                        limit.reschedule(loop.time() + self.budget.first_token)
            if not (any(piece.is_limited for piece in begun) and model.make_room(room)):
                raise ModelUnavailable("empty answer")
            call.end("no room for thoughts")
        except BaseException as error:
            call.end(to_model_error(error).reason if isinstance(error, Exception) else _CANCELLED)
            raise
        finally:
            if not begun or not (begun[-1].text.strip() or begun[-1].calls):
                await stream.aclose()
        return await self._first_token(model, prompt, offer)


class _Length:
    """Counts an answer's tokens: a short piece of a stream is one, and a long one has at least as many as it seems."""

    def __init__(self) -> None:
        self.is_reached = False
        self._left = _ANSWER_TOKENS

    def limited(self, piece: Reply) -> Reply:
        """Return the piece, or what fits of it."""
        text = piece.text
        used = 1 if len(text) < _SEVERAL else _fewest_tokens(text)
        if not text or used <= self._left:
            self._left -= used if text else 0
            return piece
        self.is_reached = True
        text = text[: (self._left + 1) * _LONG]
        fits = bisect_right(range(1, len(text) + 1), self._left, key=lambda end: _fewest_tokens(text[:end]))
        return replace(piece, text=text[:fits].rstrip(), finish_reason="length")


def _fewest_tokens(text: str) -> int:
    """Return how many tokens a text has at least: by its words, by the characters of Chinese or Thai, by its length."""
    by_words = len(text.split()) + len(_WITHOUT_SPACES.findall(text)) // _CHARACTERS
    return max(1, by_words, len(text) // _LONG)


_Offer = Mapping[str, Any] | None
_StartedStream = tuple[list[Reply], AsyncGenerator[Reply], ModelCall, Chat]


@asynccontextmanager
async def open_models(settings: AgentSettings) -> AsyncGenerator[Models]:
    """Open the models, which share one connection pool, closed on exit."""
    budget = Budget.of(settings.answer_timeout)
    key = settings.openai_api_key or _NO_KEY
    async with AsyncExitStack() as stack:

        async def wire_to(url: str | None, key: SecretStr) -> Wire:
            secret, patience = key.get_secret_value(), budget.first_token
            return await stack.enter_async_context(open_wire(url, secret, connect=budget.connect, patience=patience))

        wire = embedding_wire = await wire_to(settings.openai_base_url, key)
        if settings.embedding_base_url:  # another server, which the key of the first is not sent to
            embedding_wire = await wire_to(settings.embedding_base_url, settings.embedding_api_key or _NO_KEY)
        elif settings.embedding_api_key:
            embedding_wire = await wire_to(settings.openai_base_url, settings.embedding_api_key)
        embedder = Embedder(embedding_wire, settings.embedding_model)

        habits = defaultdict[str, Habits](Habits)

        def chat(model: str, most_tokens: int, *, streams: bool = True) -> Chat:
            return Chat(
                wire,
                habits=habits[model],
                model=model,
                api_key=key,
                temperature=0,
                max_completion_tokens=most_tokens,
                streaming=streams,
                stream_usage=True,
                tags=["nostream"],  # nodes stream what customers may see
            )

        classifier = chat(settings.classify_model, _LABEL_TOKENS, streams=False)
        answerers = [chat(name, _ANSWER_TOKENS) for name in (settings.answer_model, settings.fallback_model) if name]
        models = Models(
            classifier=Endpoint(classifier, _breaker(classifier.model_name)),
            answerers=tuple(Endpoint(model, _breaker(model.model_name)) for model in answerers),
            embeddings=Endpoint(embedder, _breaker(settings.embedding_model)),
            indexing=embedder.on(embedding_wire.patient(max(_INDEXING_PATIENCE, budget.first_token))),
            budget=budget,
        )
        for endpoint in models.endpoints:
            stack.callback(endpoint.breaker.stop)
        yield models


def _breaker(name: str) -> Breaker:
    return Breaker(f"model {name}", is_down, threshold=_BREAKER_THRESHOLD, pause=_BREAKER_PAUSE)


def _check_filter(piece: Reply) -> None:
    if piece.is_filtered:
        raise ContentFiltered(f"finish_reason {piece.finish_reason}".lower())


def tokens(reply: Reply) -> int:
    """Return the tokens that the server reported for a reply or a piece of one; 0 if missing or implausible."""
    return plausible_tokens(reply.usage["total_tokens"]) if reply.usage else 0
