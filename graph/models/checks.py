"""Whether the models give what a turn needs: one tiny request to each, as the turn sends it.

That is done at the start, by `support-agent doctor`, and after a turn that failed. Probes get what is known.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import openai
from langsmith import tracing_context  # pyright: ignore[reportUnknownVariableType] - its mappings have no types

from graph.address import DEFAULT_URL, has_version
from graph.connection import connection_trouble
from graph.errors import (
    ContentFiltered,
    ContextTooLong,
    ModelError,
    ModelRefused,
    ModelUnavailable,
    QuotaExhausted,
)
from graph.models import PROBE, Endpoint, Models
from graph.models.chat import Chat
from graph.models.faults import kind_of, server_error, status_of, to_model_error
from graph.models.wire import WebPage
from graph.prompts import classify_prompt
from graph.settings import AgentSettings
from graph.state import category_in

QUESTION = PROBE[-1].text
"""What each model is asked."""
_QUESTIONS = (QUESTION, f"{QUESTION} I have a question about my invoice.")
_UNKNOWN = re.compile(r"not (?:be )?found|not exist|invalid model|unknown model|no such model", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a model, and what mends it; no exception's text."""

    model: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class _Role:
    """A model as a turn uses it, and the settings that say so."""

    model: str
    variable: str
    ask: Callable[[], Awaitable[object]]
    url: str
    url_variable: str
    key_variable: str


class _NoDesk(Exception):
    pass


async def check_models(models: Models, settings: AgentSettings) -> list[Trouble]:
    """Ask each model, all at once; return what is wrong with them."""
    seconds = models.budget.first_token
    with tracing_context(enabled=False):  # LangChain would trace the calls by itself, and delay the shutdown
        found = await asyncio.gather(*(_trouble(role, seconds) for role in _roles(models, settings)))
    return [trouble for trouble in found if trouble]


def in_words(troubles: Sequence[Trouble], models: int) -> list[tuple[str, str]]:
    """Return reasons and remedies, each once; a reason names its models unless it is that of all `models`."""
    named: dict[tuple[str, str], list[str]] = {}
    for trouble in troubles:
        named.setdefault((trouble.reason, trouble.remedy), []).append(trouble.model)
    return [
        (reason if len(names) == models else f"{', '.join(dict.fromkeys(names))} {reason}", remedy)
        for (reason, remedy), names in named.items()
    ]


def names(models: Models, settings: AgentSettings) -> list[str]:
    """Return the models' names, one for each thing that a turn asks."""
    return [role.model for role in _roles(models, settings)]


def _roles(models: Models, settings: AgentSettings) -> list[_Role]:
    server = (settings.openai_base_url or DEFAULT_URL, "OPENAI_BASE_URL", "OPENAI_API_KEY")
    own = (settings.embedding_base_url or server[0], settings.embedding_url_name, settings.embedding_key_name)
    embedder = models.embeddings.model

    def answers(endpoint: Endpoint[Chat], variable: str) -> _Role:
        return _Role(endpoint.model.model_name, variable, lambda: models.try_answer(endpoint, PROBE), *server)

    return [
        _Role(models.classifier.model.model_name, "SUPPORT_CLASSIFY_MODEL", lambda: _classify(models), *server),
        *map(answers, models.answerers, ("SUPPORT_ANSWER_MODEL", "SUPPORT_FALLBACK_MODEL")),
        _Role(embedder.model_name, "SUPPORT_EMBEDDING_MODEL", lambda: models.try_embed([QUESTION]), *own),
    ]


async def _classify(models: Models) -> None:
    for question in _QUESTIONS:
        reply = await models.try_classify(classify_prompt(question))
        if category_in(reply.text):
            return
    raise _NoDesk


async def _trouble(role: _Role, seconds: float) -> Trouble | None:
    try:
        async with asyncio.timeout(seconds):
            await role.ask()
    except TimeoutError:
        return Trouble(role.model, *_late(seconds, role))
    except _NoDesk:
        remedy = f"set {role.variable} to a model that replies with one word"
        return Trouble(role.model, "named no desk", remedy)
    except ModelUnavailable:
        return Trouble(role.model, "gave nothing that can be used", f"set {role.variable} to a model for that")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        late = isinstance(error, openai.APITimeoutError)
        return Trouble(role.model, *(_late(seconds, role) if late else _diagnosis(error, role)))
    return None


def _late(seconds: float, role: _Role) -> tuple[str, str]:
    return f"gave no answer in {seconds:g} s", f"wait until its server has loaded it, or correct {role.url_variable}"


def _diagnosis(error: Exception, role: _Role) -> tuple[str, str]:
    """Return the reason and the remedy of an error."""
    if sent := server_error(error):
        return _refusal(sent, role)
    if isinstance(error, ModelError):
        return f"refused the request ({error.reason})", f"set {role.variable} to another model"
    if isinstance(error, openai.APIConnectionError):
        trouble = connection_trouble(error, role.url_variable, "SSL_CERT_FILE")
        return trouble or ("can't be reached", f"start it, or correct {role.url_variable}")
    if isinstance(error, WebPage):
        return "answers with a web page", f"set {role.url_variable} to the address of the API{_version_hint(role)}"
    return "answers rubbish", f"correct {role.url_variable}"


def _refusal(error: openai.APIError, role: _Role) -> tuple[str, str]:
    status, kind, reason = status_of(error), kind_of(error), to_model_error(error).reason
    if kind is QuotaExhausted:
        return f"has no credit left ({reason})", "add credit at its provider, or raise the limit"
    if kind is ContentFiltered:
        return f"filters a harmless question ({reason})", "change the content filter at its provider"
    if kind is ContextTooLong:
        return f"reads less than a turn sends ({reason})", f"set {role.variable} to a model that reads more"
    if _is_unknown(error, role):
        return f"is not a model of the server ({reason})", f"set {role.variable} to one that is"
    if status == 407:
        return "can't be reached through the proxy", "correct the user and password in HTTP_PROXY or HTTPS_PROXY"
    if status in (401, 403):
        return "refused the key", f"correct {role.key_variable}"
    if status in (404, 405):
        well = f"correct {role.url_variable} or {role.variable}"
        hint = "" if has_version(role.url) else f"correct {role.url_variable}{_version_hint(role)}"
        return f"can't be asked at this address ({reason})", hint or well
    if status is None and not has_version(role.url):
        return "answers with an error inside HTTP 200", f"correct {role.url_variable}{_version_hint(role)}"
    if kind is ModelRefused:
        return f"refuses every request ({reason})", f"set {role.variable} to another model"
    return f"fails with {reason}", "wait, or set SUPPORT_FALLBACK_MODEL"


def _is_unknown(error: openai.APIError, role: _Role) -> bool:
    """Whether the server does not know the model, or not for this key."""
    if (error.code or "").lower() in ("model_not_found", "unknown_model", "deploymentnotfound"):
        return True
    said = str(error.body)
    return status_of(error) in (400, 404) and role.model in said and bool(_UNKNOWN.search(said))


def _version_hint(role: _Role) -> str:
    return "" if has_version(role.url) else ", with its version path, such as /v1"
