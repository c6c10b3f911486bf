"""Redaction of log records: messages, arguments, tracebacks and structlog's events."""

import io
import logging
from collections.abc import Generator
from typing import Any

import pytest
from uvicorn.logging import ColourizedFormatter

from graph.observe.redaction import DROPPED, RedactingFilter, Redactor
from harness.redacting import KEPT


@pytest.fixture
def log() -> logging.Logger:
    logger = logging.getLogger("test_redaction")
    logger.propagate = False
    return logger


@pytest.fixture
def written(log: logging.Logger, redactor: Redactor) -> Generator[io.StringIO]:
    """Yield the output of a handler with the filter."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter(redactor))
    log.addHandler(handler)
    yield stream
    log.removeHandler(handler)


def test_the_log_holds_masked_messages(log: logging.Logger, written: io.StringIO) -> None:
    """A message is masked after its arguments are filled in, so that a split number is found."""
    log.error("%s paid with 4111 1111 %s, write to %s", "a@mail.example", "1111 1111", KEPT)
    assert written.getvalue() == f"[email] paid with [card], write to {KEPT}\n"


def test_the_log_holds_masked_tracebacks(log: logging.Logger, written: io.StringIO) -> None:
    """Exceptions, causes and stacks are masked and stay readable."""
    dsn = "redis://:hunter2@redis/0"
    try:
        try:
            raise ConnectionError(dsn)
        except ConnectionError as error:
            raise ValueError("4111111111111111") from error
    except ValueError:
        log.exception("failed", stack_info=True)
    text = written.getvalue()
    assert "ConnectionError: redis://:[key]@redis/0" in text
    assert "ValueError: [card]" in text
    assert "test_the_log_holds_masked_tracebacks" in text
    assert "Stack (most recent call last)" in text
    assert "hunter2" not in text


def test_no_other_copy_of_a_text_is_left_in_a_record(redactor: Redactor) -> None:
    """The exception and uvicorn's colour message of a record are masked too."""
    error = ValueError("a@mail.example")
    exc_info = (ValueError, error, None)
    record = logging.makeLogRecord({"msg": "%s", "args": (error,), "exc_info": exc_info, "color_message": "%s"})
    RedactingFilter(redactor).filter(record)
    assert "a@mail.example" not in repr(record.__dict__)
    assert ColourizedFormatter(use_colors=True).format(record) == "[email]\nValueError: [email]"


class _Unwalkable(dict[str, str]):
    def items(self) -> Any:
        raise RuntimeError


def test_an_event_of_structlogs_is_masked_and_stays_one(redactor: Redactor) -> None:
    """A structlog event keeps its fields for the formatter; one that cannot be walked is dropped."""
    for event, masked in (
        ({"event": "from a@mail.example", "port": 80}, {"event": "from [email]", "port": 80}),
        (_Unwalkable(), {"event": DROPPED}),
    ):
        record = logging.makeLogRecord({"msg": event})
        assert RedactingFilter(redactor).filter(record)
        assert record.msg == masked


def test_a_traceback_that_was_formatted_before_is_masked(redactor: Redactor) -> None:
    """The cached traceback of another handler's formatter is masked."""
    record = logging.makeLogRecord(
        {"msg": "failed", "exc_text": "ValueError: a@mail.example", "stack_info": "sk-12345678"}
    )
    assert RedactingFilter(redactor).filter(record)
    assert logging.Formatter().format(record) == "failed\nValueError: [email]\n[key]"


class Unspeakable(Exception):
    """An error that can't be printed."""

    def __str__(self) -> str:
        raise RuntimeError("4111111111111111")


def test_a_record_that_can_not_be_masked_is_dropped(
    log: logging.Logger, written: io.StringIO, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong arguments reach neither the log nor standard error, where logging prints them by default."""
    log.error("%d paid", "a@mail.example")
    log.error("%s", Unspeakable())
    assert written.getvalue() == f"{DROPPED}\n{DROPPED}\n"
    assert capsys.readouterr().err == ""
