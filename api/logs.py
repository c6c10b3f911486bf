"""Log lines: JSON in production, readable in development, masked everywhere.

One line a request and one a run, by their shape alone; each line names the request and the run that it belongs to.
"""

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import structlog
from structlog.typing import Processor

from graph.errors import InternalError
from graph.events import Failed
from graph.observe.redaction import RedactingFilter, Redactor
from graph.observe.report import RunReport

_FIELDS = (
    *("request_id", "run_id", "method", "route", "status", "duration_ms"),
    *("outcome", "category", "cache", "first_token_ms", "tokens", "tenant", "exception"),
)
"""What a line may say beside its message."""

OURS = ("api", "cli", "evals", "graph", "local")
"""Our loggers: each is the parent of those of a package of ours."""

_LOGGERS = ("uvicorn", "uvicorn.error", *OURS)
_UNWANTED = (
    '%s - "WebSocket %s"',  # an address with its query string
    "Invalid UTF-8",  # a traceback for each client that sends it
    "ASGI callable returned without completing handshake",  # which is how a WebSocket is refused
)

_log = logging.getLogger(__name__)


class LineFormatter(structlog.stdlib.ProcessorFormatter):
    """Makes a line of a record."""

    def __init__(self, *, as_json: bool) -> None:
        shared: list[Processor] = [
            structlog.stdlib.add_log_level,
            structlog.stdlib.add_logger_name,
            structlog.stdlib.ExtraAdder(_FIELDS),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ]
        last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
        if as_json:
            last += [structlog.processors.EventRenamer("message"), structlog.processors.JSONRenderer()]
        else:
            last.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=0))
        super().__init__(foreign_pre_chain=shared, processors=last)


def log_config(*, as_json: bool) -> dict[str, Any]:
    """Return a configuration for uvicorn, which applies before the service starts."""
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
    """Mask what may be personal or secret in every log line, and write ours as uvicorn's, however it was started."""
    # uvicorn writes query strings, and so what customers ask; its other logger does for WebSockets.
    logging.getLogger("uvicorn.access").disabled = True
    logging.getLogger("uvicorn.error").addFilter(_without_clients_words)
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
    """Write the line of a run that has ended."""
    ended, ending = report.ended or report.began, report.ending
    failed = ending if isinstance(ending, Failed) else None
    level = logging.INFO
    if failed:
        level = logging.ERROR if failed.error == InternalError.code else logging.WARNING
    fields = {
        "run_id": report.run_id,
        "outcome": failed.error if failed else "done",
        "category": report.category,
        "cache": "hit" if report.is_hit else None,
        "duration_ms": round((ended - report.began) * 1000),
        "first_token_ms": round((report.first_token - report.began) * 1000) if report.first_token else None,
        "tokens": sum(call.input_tokens + call.output_tokens for call in report.calls),
        "tenant": report.context.tenant,
    }
    message = f"run {fields['outcome']}" + (f": {report.reason}" if report.reason else "")
    _log.log(level, message, extra={name: value for name, value in fields.items() if value is not None})


def _without_clients_words(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_UNWANTED)
