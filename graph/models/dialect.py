"""Which parameters a model's server takes; learned from its refusals.

Servers with OpenAI's API differ: reasoning models take no `temperature`, older servers know `max_tokens` and not
`max_completion_tokens`, strict ones refuse `stream_options`, and some accounts may not stream. A request that is
refused because of such a parameter is sent again without it, or with its twin. What has worked is remembered.
"""

import json
import logging
import re
from dataclasses import dataclass, field
from typing import Any, cast

import openai
import orjson

from graph.models.faults import is_about_the_text
from graph.models.wire import Json, Wire

_TWINS: dict[str, str] = {"max_completion_tokens": "max_tokens"}
_OPTIONAL = ("temperature", "max_completion_tokens", "max_tokens", "stream_options", "encoding_format")
_NAMED = re.compile(rf"(?<![\w.-])(?:{'|'.join(_OPTIONAL)})(?![\w-])")
_ECHOES = frozenset({"input", "ctx"})  # where Pydantic quotes the request
_STATUSES = frozenset({400, 422})

_log = logging.getLogger(__name__)

Payload = dict[str, Any]
_Changes = dict[str, str | None]  # a parameter and the name to use instead, None for no parameter at all


class Dialect:
    """What one model's server does not take."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._changes: _Changes = {}

    def request(self, payload: Payload) -> "Request":
        """Return a request with the parameters that the server is known to take."""
        for name, twin in self._changes.items():
            _replace(payload, name, twin)
        return Request(self, payload)

    def learn(self, changes: _Changes) -> None:
        """Remember what made a request work."""
        for name, twin in changes.items():
            if name not in self._changes:
                self._changes[name] = twin
                instead = f"with {twin!r} instead" if twin else "without it"
                _log.warning("model %s refuses the parameter %r; it is asked %s", self._model, name, instead)


@dataclass(slots=True)
class Request:
    """One request, whose parameters change while the server refuses them."""

    dialect: Dialect
    payload: Payload
    changes: _Changes = field(default_factory=dict[str, str | None])
    """What changed; empty once it is learned."""

    async def send(self, wire: Wire, path: str) -> Json:
        """Return the reply to the request, changed until the server takes it; raises the server's other errors."""
        while True:
            try:
                reply = await wire.post(path, self.body())
            except openai.APIStatusError as error:
                if not self.adapt(error):
                    raise
            else:
                self.accepted()
                return reply

    def body(self) -> bytes:
        """Return the request's JSON."""
        return orjson.dumps(self.payload)

    def adapt(self, error: openai.APIStatusError) -> bool:
        """Change what the server refused; False if it refused something else."""
        name = _refused(error, self.payload)
        if name is None:
            return False
        twin = _TWINS.get(name)
        _replace(self.payload, name, twin)
        self.changes[name] = twin
        return True

    def accepted(self) -> None:
        """Learn the changes, since the server took them."""
        if self.changes:
            self.dialect.learn(self.changes)
            self.changes = {}


def _replace(payload: Payload, name: str, twin: str | None) -> None:
    if name in payload:
        value = payload.pop(name)
        if twin:
            payload[twin] = value
        if name == "stream":
            payload.pop("stream_options", None)


def _refused(error: openai.APIStatusError, payload: Payload) -> str | None:
    """Return the parameter of the request that an error names."""
    if error.status_code not in _STATUSES or is_about_the_text(error):
        return None
    if error.param in payload and error.param in (*_OPTIONAL, "stream"):
        return error.param
    said = json.dumps(_without_echoes(error.body))
    return next((found[0] for found in _NAMED.finditer(said) if found[0] in payload), None)


def _without_echoes(body: object) -> object:
    if isinstance(body, dict):
        fields = cast("dict[str, object]", body)
        return {name: _without_echoes(value) for name, value in fields.items() if name not in _ECHOES}
    if isinstance(body, list):
        return [_without_echoes(each) for each in cast("list[object]", body)]
    return body
