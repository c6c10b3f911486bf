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

_TWINS: dict[str, str] = {"max_completion_tokens": "max_tokens"}
_OPTIONAL = ("temperature", "max_completion_tokens", "max_tokens", "stream_options", "encoding_format")
_NAMED = re.compile(rf"(?<![\w.-])(?:{'|'.join(_OPTIONAL)})(?![\w-])")
_ECHOES = frozenset({"input", "ctx"})  # where Pydantic quotes the request
_STATUSES = frozenset({400, 422})

_log = logging.getLogger(__name__)

Payload = dict[str, Any]
_Mends = dict[str, str | None]  # a parameter and the name to use instead, None for no parameter at all


class Dialect:
    """What one model's server does not take."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._mends: _Mends = {}

    def phrase(self, payload: Payload) -> "Phrase":
        """Put a request in the words that the server is known to take."""
        for name, twin in self._mends.items():
            _replace(payload, name, twin)
        return Phrase(self, payload)

    def keep(self, mends: _Mends) -> None:
        """Remember what made a request work."""
        for name, twin in mends.items():
            if name not in self._mends:
                self._mends[name] = twin
                instead = f"with {twin!r} instead" if twin else "without it"
                _log.warning("model %s refuses the parameter %r; it is asked %s", self._model, name, instead)


@dataclass(slots=True)
class Phrase:
    """One request, in words that change while the server refuses them."""

    dialect: Dialect
    payload: Payload
    mends: _Mends = field(default_factory=dict[str, str | None])
    """What changed; empty once it is remembered."""

    def body(self) -> bytes:
        """Return the request's JSON."""
        return orjson.dumps(self.payload)

    def mend(self, error: openai.APIStatusError) -> bool:
        """Change what the server refused; False if it refused something else."""
        name = _refused(error, self.payload)
        if name is None:
            return False
        twin = _TWINS.get(name)
        _replace(self.payload, name, twin)
        self.mends[name] = twin
        return True

    def worked(self) -> None:
        """Remember the changes, since the server took them."""
        self.dialect.keep(self.mends)
        self.mends = {}


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
