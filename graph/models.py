"""The chat and embedding models, with their time budgets, retries, circuit breakers and fallback.

Every call to the model's server goes through `_with_retries`, the only place that retries.
"""

import asyncio
import logging
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import isfinite
from typing import Any, Generic, Self, TypeVar, cast

import openai
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import SecretStr
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from graph.breaker import Breaker, BreakerOpen
from graph.errors import ModelError, ModelTimeout, ModelUnavailable
from graph.observe.report import ModelCall, begin_call, plausible_tokens
from graph.settings import AgentSettings

ATTEMPTS = 3
"""Attempts for each call to a model: the first, and two retries."""

_LABEL_TOKENS = 5  # enough for a one-word label with any tokenizer
_ANSWER_TOKENS = 1000  # several times what the longest article needs
_MAX_RETRY_AFTER = 5.0  # seconds; a server that asks for a longer pause counts as down
_RETRYABLE_STATUSES = frozenset({408, 409, 429})  # and every status from 500 on
_REQUEST_FAULTS = frozenset({400, 403, 404, 413, 422})  # the customer's message may be the cause
_BREAKER_THRESHOLD = 5  # failed attempts in a row
_BREAKER_PAUSE = 5.0  # seconds
_CANCELLED = "cancelled"

_log = logging.getLogger(__name__)
_backoff = wait_random_exponential(multiplier=0.25, max=2)
_T = TypeVar("_T")
_M = TypeVar("_M", ChatOpenAI, OpenAIEmbeddings)


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


class _Chat(ChatOpenAI):
    """A chat model that bypasses the OpenAI client's checks of its messages.

    The client would check each message against a union of types. For the classifier's examples that takes 35 ms of
    CPU, two thirds of the cost of a question.
    """

    def _get_request_payload(
        self,
        input_: LanguageModelInput,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,  # noqa: ANN401 - the overridden signature
    ) -> dict[str, Any]:
        payload = cast("dict[str, Any]", super()._get_request_payload(input_, stop=stop, **kwargs))
        return {**payload, "messages": [], "extra_body": {"messages": payload["messages"]}}


@dataclass(frozen=True, slots=True)
class Endpoint(Generic[_M]):
    """A model and its circuit breaker."""

    model: _M
    breaker: Breaker


@dataclass(frozen=True, slots=True)
class Models:
    """The models that the graph calls; all methods but `ping` raise ModelUnavailable or ModelTimeout."""

    classifier: Endpoint[ChatOpenAI]
    answerers: tuple[Endpoint[ChatOpenAI], ...]
    """The answer model, then the fallback if one is configured."""
    embeddings: Endpoint[OpenAIEmbeddings]
    budget: Budget

    async def classify(self, prompt: Sequence[BaseMessage]) -> AIMessage:
        """Return the classifier's reply."""
        return await _with_retries(self.classifier.breaker, lambda: self._reply(self.classifier.model, prompt))

    async def ping(self, seconds: float) -> None:
        """Look the answer model up on the server.

        Raises openai.OpenAIError, TimeoutError, or whatever exception an invalid response causes.
        """
        model = self.answerers[0].model
        client: openai.AsyncOpenAI = model.root_async_client
        async with asyncio.timeout(seconds):
            await client.with_options(max_retries=0).models.retrieve(model.model_name)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """Return one vector per text, all of the same length."""

        async def vectors() -> list[list[float]]:
            found = await self.embeddings.model.aembed_documents(list(texts))
            if len(found) != len(texts) or not all(any(vector) and isfinite(sum(vector)) for vector in found):
                raise ModelUnavailable("invalid embedding vectors")
            return found

        return await _with_retries(self.embeddings.breaker, vectors)

    async def answer(self, prompt: Sequence[BaseMessage]) -> AsyncGenerator[AIMessageChunk]:
        """Yield the answer's chunks.

        A failure before the first token is retried, and then the fallback is used. After the first token nothing is
        retried.
        """
        begun, stream, call = await self._begin(prompt)
        finished = False
        try:
            for chunk in begun:
                yield chunk
            finished = finish_reason(begun[-1]) is not None
            async for chunk in stream:
                finished = finished or finish_reason(chunk) is not None
                call.add(chunk)
                yield chunk
            if not finished:
                raise ModelUnavailable("the stream ended early")
        except Exception as error:
            if not finished:  # otherwise only the usage is missing
                call.end(_to_model_error(error).reason)
                raise _to_model_error(error) from error
        finally:
            call.end(None if finished else _CANCELLED)
            await stream.aclose()

    async def _reply(self, model: ChatOpenAI, prompt: Sequence[BaseMessage]) -> AIMessage:
        call = begin_call("classify", model.model_name, prompt)
        try:
            reply = await model.ainvoke(list(prompt))
        except Exception as error:
            call.end(_to_model_error(error).reason)
            raise
        else:
            call.add(reply)
            call.end()
            return reply
        finally:
            call.end(_CANCELLED)

    async def _begin(self, prompt: Sequence[BaseMessage]) -> "_StartedStream":
        *preferred, last = self.answerers
        for endpoint in preferred:
            try:
                async with asyncio.timeout(self.budget.total / 2):
                    return await self._ask(endpoint, prompt)
            except (ModelError, TimeoutError) as error:
                _log.debug("using the fallback model: %s", _to_model_error(error).reason)
        return await self._ask(last, prompt)

    async def _ask(self, endpoint: Endpoint[ChatOpenAI], prompt: Sequence[BaseMessage]) -> "_StartedStream":
        return await _with_retries(endpoint.breaker, lambda: self._first_token(endpoint.model, prompt))

    async def _first_token(self, model: ChatOpenAI, prompt: Sequence[BaseMessage]) -> "_StartedStream":
        # LangChain annotates an iterator, but returns a generator, which must be closed.
        stream = cast("AsyncGenerator[AIMessageChunk]", model.astream(list(prompt)))
        begun: list[AIMessageChunk] = []
        call = begin_call("answer", model.model_name, prompt)
        try:
            async with asyncio.timeout(self.budget.first_token):
                async for chunk in stream:
                    begun.append(chunk)
                    call.add(chunk)
                    if chunk.text.strip():
                        return begun, stream, call
            raise ModelUnavailable("empty answer")
        except BaseException as error:
            call.end(_to_model_error(error).reason if isinstance(error, Exception) else _CANCELLED)
            await stream.aclose()
            raise


_StartedStream = tuple[list[AIMessageChunk], AsyncGenerator[AIMessageChunk], ModelCall]


@asynccontextmanager
async def open_models(settings: AgentSettings) -> AsyncGenerator[Models]:
    """Open the models, which share one connection pool, closed on exit."""
    budget = Budget.of(settings.answer_timeout)
    timeout = openai.Timeout(budget.first_token, connect=budget.connect)
    key = settings.openai_api_key or SecretStr("not-needed")
    # Pydantic's warning quotes the unexpected part of a reply, and a reply may quote a customer.
    warnings.filterwarnings("ignore", "Pydantic serializer warnings", UserWarning)
    async with openai.DefaultAioHttpClient(timeout=timeout, follow_redirects=False) as client:

        def chat(model: str, *, label: bool = False) -> ChatOpenAI:
            return _Chat(
                model=model,
                api_key=key,
                base_url=settings.openai_base_url,
                temperature=0,
                timeout=timeout,
                max_retries=0,  # _with_retries does it
                max_completion_tokens=_LABEL_TOKENS if label else _ANSWER_TOKENS,
                streaming=not label,
                stream_usage=True,
                stream_chunk_timeout=budget.first_token,
                use_responses_api=False,
                openai_proxy="",  # the client above already uses the environment's proxies
                http_socket_options=(),  # the client above sets its own
                http_async_client=client,
                tags=["nostream"] if label else None,
            )

        names = [settings.answer_model, settings.fallback_model]
        yield Models(
            classifier=_endpoint(settings.classify_model, chat(settings.classify_model, label=True)),
            answerers=tuple(_endpoint(name, chat(name)) for name in names if name),
            embeddings=_endpoint(
                settings.embedding_model,
                OpenAIEmbeddings(
                    model=settings.embedding_model,
                    api_key=key,
                    base_url=settings.openai_base_url,
                    timeout=timeout,
                    max_retries=0,
                    openai_proxy="",
                    check_embedding_ctx_length=False,  # otherwise it sends token ids, which only OpenAI accepts
                    http_async_client=client,
                ),
            ),
            budget=budget,
        )


def _endpoint(name: str, model: _M) -> Endpoint[_M]:
    return Endpoint(model, Breaker(f"model {name}", _is_down, threshold=_BREAKER_THRESHOLD, pause=_BREAKER_PAUSE))


async def _with_retries(breaker: Breaker, call: Callable[[], Awaitable[_T]]) -> _T:
    """Await `call()`, retrying transient errors up to ATTEMPTS attempts while the breaker allows; raises ModelError."""
    retrying = AsyncRetrying(
        stop=stop_after_attempt(ATTEMPTS), wait=_retry_delay, retry=retry_if_exception(_is_transient), reraise=True
    )

    failed: Exception | None = None

    async def attempt() -> _T:  # tenacity only awaits coroutine functions
        nonlocal failed
        try:
            with breaker:
                return await call()
        except BreakerOpen as error:
            raise failed or error from None  # what opened the breaker says more
        except Exception as error:
            failed = error
            raise

    try:
        return await retrying(attempt)
    except Exception as error:
        raise _to_model_error(error) from error


def _retry_delay(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return _backoff(state) if error is None else (_retry_after(error) or _backoff(state))


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, openai.APIStatusError):
        if error.code == "insufficient_quota" or (_retry_after(error) or 0) > _MAX_RETRY_AFTER:
            return False
        return error.status_code in _RETRYABLE_STATUSES or error.status_code >= 500
    return isinstance(error, Exception) and not isinstance(error, BreakerOpen)


def _is_down(error: Exception) -> bool:
    """Whether an error means that the model's server is down, and not that the request was at fault."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code not in _REQUEST_FAULTS
    return not isinstance(error, ModelError)


def _retry_after(error: BaseException) -> float | None:
    """Return the Retry-After header if it is a number of seconds, else None."""
    value = error.response.headers.get("retry-after", "") if isinstance(error, openai.APIStatusError) else ""
    return float(value) if value.isdecimal() else None


def _to_model_error(error: Exception) -> ModelError:
    if isinstance(error, ModelError):
        return error
    if isinstance(error, openai.APIStatusError):
        return ModelUnavailable(f"HTTP {error.status_code}")
    origin = _root_cause(error) if isinstance(error, openai.APITimeoutError) else error
    return (ModelTimeout if isinstance(origin, TimeoutError) else ModelUnavailable)(type(origin).__name__)


def _root_cause(error: BaseException) -> BaseException:
    """Return an error's root cause.

    The client also reports a refused or reset connection as a time-out (findings/openai-aiohttp-refused.sh).
    """
    while error.__cause__ and not isinstance(error, TimeoutError):
        error = error.__cause__
    return error


def finish_reason(chunk: AIMessageChunk) -> str | None:
    """Return the finish reason if the answer ends with this chunk, else None."""
    return chunk.response_metadata.get("finish_reason")


def tokens(message: AIMessage) -> int:
    """Return the tokens that the server reported for a message or chunk; 0 if missing or implausible."""
    return plausible_tokens(message.usage_metadata["total_tokens"]) if message.usage_metadata else 0
