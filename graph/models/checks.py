"""Whether the models give what a turn needs: one tiny request to each, as the turn sends it.

That is done at the start, by `support-agent doctor`, and after a turn that failed. Probes get what is known.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import openai
from langsmith import tracing_context  # pyright: ignore[reportUnknownVariableType] - its mappings have no types

from graph.address import DEFAULT_URL, has_version
from graph.connection import connection_trouble, proxy_for
from graph.desk_prompt import DeskPrompt
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
from graph.settings import AgentSettings

QUESTION = PROBE[-1].text
"""What each model is asked."""
_QUESTIONS = (QUESTION, f"{QUESTION} I have a question about my invoice.")
_ENDPOINT = re.compile(r"/(?:chat/completions|embeddings|completions|models)/?$")
_PROXIES = frozenset({403, 502, 503, 504})  # of one that may not ask a server, or does not reach it
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
    embeds: bool = False


class _NoDesk(Exception):
    pass


async def check_models(models: Models, settings: AgentSettings, prompt: DeskPrompt) -> list[Trouble]:
    """Ask each model, all at once; return what is wrong with them."""
    seconds = models.budget.first_token
    roles = _roles(models, settings, prompt)
    with tracing_context(enabled=False):  # LangChain would trace the calls by itself, and delay the shutdown
        errors = await asyncio.gather(*(_error(role, seconds) for role in roles))
    asked = list(zip(roles, errors, strict=True))
    working = [role for role, error in asked if error is None or isinstance(error, _NoDesk)]
    return [Trouble(role.model, *_diagnosis(error, role, seconds, working)) for role, error in asked if error]


def in_words(troubles: Sequence[Trouble], models: int) -> list[tuple[str, str]]:
    """Return reasons and remedies, each once; a reason names its models unless it is that of all `models`."""
    named: dict[tuple[str, str], list[str]] = {}
    for trouble in troubles:
        named.setdefault((trouble.reason, trouble.remedy), []).append(trouble.model)
    return [
        (reason if len(names) == models else f"{', '.join(dict.fromkeys(names))} {reason}", remedy)
        for (reason, remedy), names in named.items()
    ]


def names(models: Models, settings: AgentSettings, prompt: DeskPrompt) -> list[str]:
    """Return the models' names, one for each thing that a turn asks."""
    return [role.model for role in _roles(models, settings, prompt)]


def _roles(models: Models, settings: AgentSettings, prompt: DeskPrompt) -> list[_Role]:
    server = (settings.openai_base_url or DEFAULT_URL, "OPENAI_BASE_URL", "OPENAI_API_KEY")
    own = (settings.embedding_base_url or server[0], settings.embedding_url_name, settings.embedding_key_name)
    embedder = models.embeddings.model

    def answers(endpoint: Endpoint[Chat], variable: str) -> _Role:
        return _Role(endpoint.model.model_name, variable, lambda: models.try_answer(endpoint, PROBE), *server)

    classifier = models.classifier.model.model_name
    classifies = _Role(classifier, "SUPPORT_CLASSIFY_MODEL", lambda: _classify(models, prompt), *server)
    return [
        *([classifies] if len(prompt.desks) > 1 else []),
        *map(answers, models.answerers, ("SUPPORT_ANSWER_MODEL", "SUPPORT_FALLBACK_MODEL")),
        _Role(embedder.model_name, "SUPPORT_EMBEDDING_MODEL", lambda: models.try_embed([QUESTION]), *own, embeds=True),
    ]


async def _classify(models: Models, prompt: DeskPrompt) -> None:
    for question in _QUESTIONS:
        reply = await models.try_classify(prompt, question)
        if prompt.desk_in(reply.text, is_cut=reply.is_limited):
            return
    raise _NoDesk


async def _error(role: _Role, seconds: float) -> Exception | None:
    try:
        async with asyncio.timeout(seconds):
            await role.ask()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told
        return error
    return None


def _diagnosis(error: Exception, role: _Role, seconds: float, working: Sequence[_Role]) -> tuple[str, str]:
    """Return the reason and the remedy of an error; `working` are the roles whose models have answered."""
    if isinstance(error, TimeoutError | openai.APITimeoutError):
        return (
            f"gave no answer in {seconds:g} s",
            f"wait until its server has loaded it, or correct {role.url_variable}",
        )
    if isinstance(error, _NoDesk):
        return "named no desk", f"set {role.variable} to a model that replies with one word"
    if isinstance(error, ModelUnavailable):
        return "gave nothing that can be used", f"set {role.variable} to a model for that"
    if sent := server_error(error):
        return _refusal(sent, role, working)
    if isinstance(error, ModelError):
        return f"refused the request ({error.reason})", f"set {role.variable} to another model"
    if isinstance(error, openai.APIConnectionError):
        trouble = connection_trouble(error, role.url_variable, "SSL_CERT_FILE")
        return trouble or ("can't be reached", f"start it, or correct {role.url_variable}")
    if isinstance(error, WebPage):
        return "answers with a web page", _of_the_api(role)
    return "answers rubbish", f"correct {role.url_variable}"


def _refusal(error: openai.APIError, role: _Role, working: Sequence[_Role]) -> tuple[str, str]:
    status, kind, reason = status_of(error), kind_of(error), to_model_error(error).reason
    if kind is QuotaExhausted:
        return f"has no credit left ({reason})", "add credit at its provider, or raise the limit"
    if kind is ContentFiltered:
        return f"filters a harmless question ({reason})", "change the content filter at its provider"
    if kind is ContextTooLong:
        return f"reads less than a turn sends ({reason})", f"set {role.variable} to a model that reads more"
    if _is_unknown(error, role):
        return f"is not a model of the server ({reason})", f"set {role.variable} to one that is"
    if trouble := _of_a_proxy(status, role):
        return trouble
    if status in (401, 403):
        return "refused the key", f"correct {role.key_variable}"
    if status in (404, 405, 501) or (status or 500) < 400:
        return _elsewhere(status or 0, reason, role, working)
    if status is None and not has_version(role.url):
        return "answers with an error inside HTTP 200", f"correct {role.url_variable}{_version_hint(role)}"
    if kind is ModelRefused:
        return f"refuses every request ({reason})", f"set {role.variable} to another model"
    return _failing(status, reason, role, working)


def _of_a_proxy(status: int | None, role: _Role) -> tuple[str, str] | None:
    """Return the reason and the remedy of a status that a proxy gives, or may have given in place of the server."""
    if status == 407:
        return "can't be reached through the proxy", "correct the user and password in HTTP_PROXY or HTTPS_PROXY"
    if status in _PROXIES and role.url.startswith("http:") and proxy_for(role.url):
        remedy = "add the server's host to NO_PROXY if that should not be asked, or see their logs"
        return f"or the proxy before it answers with HTTP {status}", remedy
    return None


def _failing(status: int | None, reason: str, role: _Role, working: Sequence[_Role]) -> tuple[str, str]:
    """Return the reason and the remedy of what may pass."""
    wait = "wait, or raise the rate limit at its provider" if status == 429 else "wait, or look at its server's log"
    is_alone = any(other.variable == "SUPPORT_CLASSIFY_MODEL" for other in working)
    can_fall_back = is_alone and role.variable == "SUPPORT_ANSWER_MODEL"
    return f"fails with {reason}", f"{wait}, or set SUPPORT_FALLBACK_MODEL" if can_fall_back else wait


def _elsewhere(status: int, reason: str, role: _Role, working: Sequence[_Role]) -> tuple[str, str]:
    """Return the reason and the remedy of a status that says that nothing like that is here."""
    if status < 400:
        return f"is not at this address, which leads elsewhere ({reason})", _of_the_api(role)
    is_right = any(other.url == role.url for other in working)
    if role.embeds and (is_right or status == 501):
        own = role.url_variable == "SUPPORT_EMBEDDING_BASE_URL"
        remedy = f"set SUPPORT_EMBEDDING_BASE_URL to {'another' if own else 'one'} that gives them"
        return f"is on a server without embeddings ({reason})", remedy
    reason = f"can't be asked at this address ({reason})"
    if is_right:
        return reason, f"set {role.variable} to a model of the server"
    if path := _ENDPOINT.search(urlsplit(role.url).path):
        return reason, f"remove {path[0]} from {role.url_variable}"
    return reason, f"correct {role.url_variable}{_version_hint(role) or ', or the names of the models'}"


def _of_the_api(role: _Role) -> str:
    return f"set {role.url_variable} to the address of the API{_version_hint(role)}"


def _is_unknown(error: openai.APIError, role: _Role) -> bool:
    """Whether the server does not know the model, or not for this key."""
    if (error.code or "").lower() in ("model_not_found", "unknown_model", "deploymentnotfound"):
        return True
    said = str(error.body)
    is_named = re.search(rf"(?<!\w){re.escape(role.model)}(?!\w)", said)  # a short name is a part of many words
    return status_of(error) in (400, 404) and bool(is_named and _UNKNOWN.search(said))


def _version_hint(role: _Role) -> str:
    return "" if has_version(role.url) else ", with its version path, such as /v1"
