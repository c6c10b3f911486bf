"""Which parameters a model's server takes; learned from its refusals.

Servers with OpenAI's API differ: reasoning models take no `temperature`, older servers know `max_tokens` and not
`max_completion_tokens`, strict ones refuse `stream_options`, some models take no system prompt, and some are streamed
never or always. A request that is refused for such a reason is sent again without the parameter, with its twin, or with
a value that the server names. What has worked is remembered.
"""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import openai
import orjson

from graph.errors import ModelRefused, ModelUnavailable
from graph.models.faults import kind_of, status_of, words_of
from graph.models.wire import Json, Wire

_TWINS = {"max_completion_tokens": "max_tokens"}
_OPTIONAL = ("temperature", "max_completion_tokens", "max_tokens", "stream_options", "encoding_format")
_LIMITS = ("max_completion_tokens", "max_tokens")
_SPELLINGS = {
    **{re.sub("_(.)", lambda found: found[1].upper(), name): name for name in _OPTIONAL},
    **{name: name for name in _OPTIONAL},
}
_NAMED = re.compile(rf"(?<![\w.-])(?:(?:body|parameters?|params)\.)?({'|'.join(_SPELLINGS)})(?![\w-])")
_LIMIT_NAMED = re.compile(r"(?<![\w.-])max_(?:new_|output_|completion_)?tokens(?![\w-])")
_NUMBER = r"(?: a)?(?: value)?(?: of| is|:)? *['`\"]?(\d{1,9})"
_AT_LEAST = re.compile(rf"(?:>=|at least|no less than|greater than(?: or equal to)?|minimum){_NUMBER}", re.IGNORECASE)
_AT_MOST = re.compile(
    rf"(?:<=|\d >|at most|no more than|less than(?: or equal to)?|up to|maximum){_NUMBER}|\[\d+, *(\d{{1,9}})\]",
    re.IGNORECASE,
)
_STREAM_REFUSED = re.compile(
    r"\bstream(?:ing|s|ed)?\b[^.]{0,30}\b(?:not|isn't) (?:supported|allowed|available|enabled|implemented|permitted)"
    r"|\b(?:not|n't) support [^.]{0,20}\bstream|\bstream(?:ing)? (?:is )?(?:unsupported|disabled)",
    re.IGNORECASE,
)
_STREAM_WANTED = re.compile(
    r"\bonly supports? [^.]{0,10}\bstream|\b(?:enable|set|use) (?:the )?['`\"]?stream|\bnon-stream\w* calls"
    r"|\bstream['`\"]? (?:must|should) be (?:set to )?true|\brequires? stream",
    re.IGNORECASE,
)
_SYSTEM_REFUSED = re.compile(
    r"\b(?:system|developer)['`\"]? (?:roles?|messages?|prompts?|instructions?) (?:is |are )?not (?:supported|enabled)"
    r"|\b(?:not|n't) support (?:the )?['`\"]?(?:system|developer)\b",
    re.IGNORECASE,
)
_TOOLS_REFUSED = re.compile(
    r"(?:\bnot|n't) support (?:the )?(?:use of )?['`\"]?(?:tools?|functions?)\b"
    r"|\b(?:tools?|functions?)[ _]?(?:use|calls?|calling|choice)?['`\"]? (?:is |are )?(?:not|n't) (?:supported|enabled)"
    r"|\bnot supported with (?:tools?|functions?)\b|\btool choice requires\b|\btools param requires\b"
    r"|\bno endpoints found that support tool|\binvalid schema for (?:tool|function)",
    re.IGNORECASE,
)
_TOOLS_PARAM = re.compile(r"tools?(?:_choice)?(?:[.\[].*)?")
_SYSTEM_PARAM = re.compile(r"messages(?:\[0\]|\.0)\.role")
_REFUSAL = re.compile(
    r"unsupported|\b(?:un|not )(?:known|recogni[sz]ed|expected)|additional properties|extra (?:inputs|fields)"
    r"|\bnot (?:be )?(?:supported|permitted|allowed|implemented|accepted)|\b(?:not|n't) support\b",
    re.IGNORECASE,
)
_ABOUT_THE_REQUEST = frozenset({400, 422})
_MAY_BE_ABOUT_IT = frozenset({None, 404, 500, 501})  # if the text says so; None is an error inside a 200
_MOST_CHANGES = 8  # of one request
_SYSTEM = ("system", "developer")

_log = logging.getLogger(__name__)

Payload = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Change:
    """What is done about a parameter: it is left out, unless something else is given."""

    twin: str | None = None
    """The name to use instead."""
    least: int | None = None
    most: int | None = None

    def apply(self, payload: Payload, name: str) -> None:
        if name in _SYSTEM:
            _join_system(payload)
        if name not in payload:
            return
        value = payload.pop(name)
        if name == "tools":
            payload.pop("tool_choice", None)
            _untold(payload)
        elif name == "stream":
            payload.pop("stream_options", None)
        elif self.twin:
            payload[self.twin] = value
        elif self.least:
            payload[name] = max(value, self.least)
        elif self.most:
            payload[name] = min(value, self.most)

    def __str__(self) -> str:
        if self.twin:
            return f"with {self.twin!r} instead"
        if self.least or self.most:
            return f"with at least {self.least}" if self.least else f"with at most {self.most}"
        return "without it"


_Changes = dict[str, _Change]


class Dialect:
    """What one model's server does not take."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._changes: _Changes = {}
        self.always_streams = False
        """Whether the server gives no reply in one piece."""

    def request(self, payload: Payload) -> "Request":
        """Return a request with the parameters that the server is known to take."""
        for name, change in self._changes.items():
            change.apply(payload, name)
        return Request(self, payload)

    def learn(self, changes: _Changes) -> None:
        """Remember what made a request work."""
        for name, change in changes.items():
            if self._changes.get(name) != change:
                self._changes[name] = change
                kind = "role" if name in _SYSTEM else "parameter"
                _log.warning("model %s refuses the %s %r; it is asked %s", self._model, kind, name, change)

    def wants_streams(self, error: openai.APIError) -> bool:
        """Whether a reply in one piece was refused because the model only streams, which is remembered."""
        if status_of(error) not in _ABOUT_THE_REQUEST or not _STREAM_WANTED.search(words_of(error)):
            return False
        if not self.always_streams:
            self.always_streams = True
            _log.warning("model %s refuses to reply in one piece; its replies are streamed", self._model)
        return True


@dataclass(slots=True)
class Request:
    """One request, whose parameters change while the server refuses them."""

    dialect: Dialect
    payload: Payload
    changes: _Changes = field(default_factory=dict[str, _Change])
    """What changed; empty once it is learned."""
    is_accepted: bool = False

    async def send(self, wire: Wire, path: str) -> Json:
        """Return the reply to the request, changed until the server takes it; raises the server's other errors."""
        while True:
            try:
                reply = await wire.post(path, self.body())
            except openai.APIError as error:
                if not self.adapt(error):
                    raise
            else:
                self.accepted()
                return reply

    def body(self) -> bytes:
        """Return the request's JSON."""
        return orjson.dumps(self.payload)

    def adapt(self, error: openai.APIError) -> bool:
        """Change what the server refused; False if it refused something else, or has begun to reply."""
        if self.is_accepted or len(self.changes) >= _MOST_CHANGES or not (found := _refused(error, self.payload)):
            return False
        name, change = found
        if self.changes.get(name) == change:
            return False
        change.apply(self.payload, name)
        self.changes[name] = change
        return True

    def accepted(self) -> None:
        """Learn the changes, since the server took them."""
        self.is_accepted = True
        if self.changes:
            self.dialect.learn(self.changes)
            self.changes = {}


def _refused(error: openai.APIError, payload: Payload) -> tuple[str, _Change] | None:
    """Return what an error says of the request's parameters: one of them, and the change that the server asks for."""
    status, said = status_of(error), words_of(error)
    is_named = _REFUSAL.search(said) or ("tools" in payload and _TOOLS_REFUSED.search(said))
    is_refusal = status in _ABOUT_THE_REQUEST or (status in _MAY_BE_ABOUT_IT and is_named)
    if not is_refusal or kind_of(error) not in (ModelRefused, ModelUnavailable):
        return None
    param = str(error.param or "")
    if (name := _SPELLINGS.get(param, param)) in payload and name in (*_OPTIONAL, "stream"):
        return name, _change(name, said, payload)
    asked = orjson.dumps(payload.get("messages") or payload.get("input"))
    # A name that the customer wrote too may be a quotation.
    named = (_SPELLINGS[found[1]] for found in _NAMED.finditer(said) if found[1].encode() not in asked)
    if name := next((name for name in named if name in payload), None):
        return name, _change(name, said, payload)
    return _other_refusal(param, said, payload, asked)


def _other_refusal(param: str, said: str, payload: Payload, asked: bytes) -> tuple[str, _Change] | None:
    limit = next((name for name in _LIMITS if name in payload), None)
    if limit and _LIMIT_NAMED.search(said) and b"tokens" not in asked:
        change = _change(limit, said, payload)
        return limit, _Change() if change.twin else change  # the twin is what the error names
    if payload.get("stream") and _STREAM_REFUSED.search(said) and b"stream" not in asked:
        return "stream", _Change()
    if "tools" in payload and (_TOOLS_PARAM.fullmatch(param) or _says(_TOOLS_REFUSED, said, asked)):
        return "tools", _Change()
    if _SYSTEM_PARAM.fullmatch(param) or (_SYSTEM_REFUSED.search(said) and not _SYSTEM_REFUSED.search(asked.decode())):
        role = next((message["role"] for message in _messages(payload) if message["role"] in _SYSTEM), None)
        return (role, _Change("user")) if role else None
    return None


def _change(name: str, said: str, payload: Payload) -> _Change:
    """Return the change of a refused parameter."""
    if name in _LIMITS:
        value = payload[name]
        if least := next((bound for bound in _numbers(_AT_LEAST, said) if bound > value), None):
            return _Change(least=least)
        if most := next((bound for bound in _numbers(_AT_MOST, said) if 0 < bound < value), None):
            return _Change(most=most)
    return _Change(_TWINS.get(name))


def _numbers(pattern: re.Pattern[str], said: str) -> Iterator[int]:
    return (int(number) for found in pattern.finditer(said) for number in found.groups() if number)


def _messages(payload: Payload) -> list[Json]:
    return cast("list[Json]", orjson.loads(orjson.dumps(payload.get("messages") or [])))


def _says(pattern: re.Pattern[str], said: str, asked: bytes) -> bool:
    """Whether an error says something that it does not quote from the prompt."""
    return any(orjson.dumps(found[0])[1:-1] not in asked for found in pattern.finditer(said))


def _untold(payload: Payload) -> None:
    """Make the results of tools messages of the user, for a model that knows neither."""
    told = [message for message in _messages(payload) if not message.get("tool_calls")]
    payload["messages"] = [
        {"role": "user", "content": message["content"]} if message["role"] == "tool" else message for message in told
    ]


def _join_system(payload: Payload) -> None:
    """Make the system prompt the beginning of the first message."""
    messages = _messages(payload)
    system = [message for message in messages if message["role"] in _SYSTEM]
    rest = [message for message in messages if message not in system]
    if system and rest:
        rest[0]["content"] = "\n\n".join(str(message["content"]) for message in (*system, rest[0]))
        payload["messages"] = rest
