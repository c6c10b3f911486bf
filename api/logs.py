"""Logging: JSON in production, plain text in development; personal data and secrets are masked in both.

Each request and each run gets one line, which holds nothing that a client wrote. Lines that belong to a request or a
run have its `request_id` or `run_id`.
"""

import json
import logging
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast

import orjson

from graph.errors import InternalError
from graph.events import Done, Failed
from graph.observe.redaction import RedactingFilter, Redactor
from graph.observe.report import RunReport

_FIELDS = (
    *("request_id", "run_id", "method", "route", "status", "duration_ms"),
    *("outcome", "answered", "category", "cache", "first_token_ms", "tokens", "tenant", "exception"),
)
"""The fields that a line may have besides its message."""

OURS = ("api", "cli", "evals", "graph", "local")
"""The root loggers of our packages."""

_LOGGERS = ("uvicorn", "uvicorn.error", *OURS)
_UNWANTED = (
    '%s - "WebSocket %s"',  # logs the URL with its query string
    "Invalid UTF-8",  # logs a traceback whenever a client sends it
    "ASGI callable returned without completing handshake",  # is normal when a WebSocket is refused
)

_log = logging.getLogger(__name__)


class LineFormatter(logging.Formatter):
    """Formats a log record as one line, at a fifth of what structlog's formatter costs."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and below it the traceback if the log is to be read."""
        about: dict[str, object] = {name: record.__dict__[name] for name in _FIELDS if name in record.__dict__}
        message: object = record.getMessage()
        if isinstance(record.msg, dict):  # structlog's event
            about |= cast("dict[str, object]", record.msg)
            message = about.pop("event", "")
        if record.exc_info:
            about["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            about["stack"] = record.stack_info
        level = record.levelname.lower()
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        if self._as_json:
            return _json({"level": level, "logger": record.name, **about, "timestamp": when, "message": message})
        below = [str(about.pop(name)) for name in ("stack", "exception") if name in about]
        told = "".join(f" {name}={value}" for name, value in sorted(about.items()))
        return "\n".join((f"{when} [{level:<9}] {message} [{record.name}]{told}", *below))


def _json(line: dict[str, object]) -> str:
    try:
        return orjson.dumps(line, default=str).decode()
    except TypeError:  # half a surrogate pair, or an integer of more than 64 bits
        return json.dumps(line, default=str)


def log_config(*, as_json: bool) -> dict[str, Any]:
    """Return uvicorn's logging configuration, which applies before the lifespan starts."""
    ours = {"handlers": ["default"], "level": "INFO", "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": LineFormatter, "as_json": as_json}},
        "handlers": {"default": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": dict.fromkeys(("uvicorn", *OURS), ours),
        "root": {"handlers": ["default"], "level": "WARNING"},
    }


@contextmanager
def masked_logs(redactor: Redactor, *, as_json: bool) -> Generator[None]:
    """Mask personal data and secrets in every log line, and give our loggers uvicorn's handlers.

    This holds however uvicorn was started, also without `log_config`.
    """
    # uvicorn.access logs query strings, and with them customers' questions; uvicorn.error does so for WebSockets.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("uvicorn.error").addFilter(_is_wanted)
    servers = logging.getLogger("uvicorn")
    for ours in map(logging.getLogger, OURS):
        if servers.handlers and not ours.handlers:
            ours.handlers, ours.propagate = servers.handlers, False
            ours.setLevel(logging.INFO)
    redacting = RedactingFilter(redactor)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    handlers = {handler for logger in loggers for handler in logger.handlers}
    for handler in handlers:
        handler.setFormatter(LineFormatter(as_json=as_json))
    handlers.update(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(redacting)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(redacting)


def log_run(report: RunReport) -> None:
    """Log the line of a run that has ended."""
    ended, ending = report.ended or report.began, report.ending
    failed = ending if isinstance(ending, Failed) else None
    level = logging.INFO
    if failed:
        level = logging.ERROR if failed.error == InternalError.code else logging.WARNING
    fields = {
        "run_id": report.run_id,
        "outcome": failed.error if failed else "done",
        "answered": ending.answered if isinstance(ending, Done) else None,
        "category": report.category,
        "cache": "hit" if report.is_hit else None,
        "duration_ms": round((ended - report.began) * 1000),
        "first_token_ms": round((report.first_token - report.began) * 1000) if report.first_token else None,
        "tokens": sum(call.input_tokens + call.output_tokens for call in report.calls),
        "tenant": report.context.tenant,
    }
    message = f"run {fields['outcome']}" + (f": {report.reason}" if report.reason else "")
    _log.log(level, message, extra={name: value for name, value in fields.items() if value is not None})


def _is_wanted(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_UNWANTED)
