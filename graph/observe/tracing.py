"""Sends traces of runs to LangSmith.

Our own code converts a run's report for LangSmith's client, because the client's own tracing works in the event loop
(3 ms of CPU per run), queues unsent traces without a limit, and delays the exit. Here the event loop only puts the
report into a bounded queue. A thread builds the trace, masks it and sends it with LangSmith's client. A trace that does
not fit into the queue, or is still unsent at shutdown, is dropped and counted.
"""

import logging
import queue
import threading
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, cast

from langsmith.utils import LangSmithError

from graph.breaker import Breaker, BreakerOpen
from graph.observe.langsmith import langsmith_client, langsmith_trouble, status_of
from graph.observe.metrics import traces_dropped
from graph.observe.redaction import DROPPED, Redactor
from graph.observe.report import RunReport
from graph.observe.trace import Traces
from graph.settings import AgentSettings

_MAX_QUEUED = 8_000_000  # characters of queued reports; one usually has 10,000 to 20,000
_BATCH = 50  # reports per request
_BATCH_SIZE = 1_000_000  # characters per request, unless one report is longer
_PAUSE = 2.0  # seconds between two attempts while LangSmith is down
_SHUTDOWN_WAIT = 1.5  # seconds that shutdown waits for unsent traces
_RETRYABLE_STATUSES = frozenset({401, 403, 408, 429})  # and every status from 500 on

_log = logging.getLogger(__name__)


class Tracing:
    """Sends the reports that it observes to LangSmith."""

    def __init__(self, settings: AgentSettings, redactor: Redactor) -> None:
        self._errors: list[Exception] = []
        self._client = langsmith_client(
            settings,
            tracing_sampling_rate=settings.langsmith_sampling,
            anonymizer=partial(_masked, redactor),
            tracing_error_callback=self._errors.append,
            auto_batch_tracing=False,
            omit_traced_runtime_info=True,
            disable_prompt_cache=True,
        )
        self._project = settings.langsmith_project
        self._project_id: uuid.UUID | None = None
        self._project_url: str | None = None
        self._traces = Traces(settings)
        self._queue: queue.SimpleQueue[tuple[int, RunReport]] = queue.SimpleQueue()
        self._size = 0
        self._size_lock = threading.Lock()
        self._closing = threading.Event()
        self._unsent = 0
        self._is_down = False
        self._told = ""
        """What the log says of LangSmith, once while it stays so."""
        self._thread = threading.Thread(target=self._send_loop, name="langsmith", daemon=True)
        self._breaker = Breaker("LangSmith", _is_transient, threshold=1, pause=_PAUSE)
        self._thread.start()

    def observe(self, report: RunReport) -> None:
        """Queue a run's trace, or drop it if the queue is full."""
        size = _size(report)
        with self._size_lock:
            fits = self._size + size <= _MAX_QUEUED and not self._closing.is_set()
            self._size += size if fits else 0
        if fits:
            self._queue.put((size, report))
        else:
            traces_dropped.add(1)

    def rate(self, run_id: str, score: float, comment: str | None, name: str) -> bool:
        """Send a rating of a run, and wait for the response; return False if LangSmith is down.

        A rating that LangSmith refuses is dropped. `name` is its id, so that a retry adds no second rating.
        """
        try:
            if self._project_id is None:
                self._project_id = self._client.read_project(project_name=self._project).id
            self._client.create_feedback(
                run_id,
                "customer",
                score=score,
                comment=comment,
                trace_id=run_id,
                session_id=self._project_id,
                feedback_id=name,
                extend_trace_retention=False,  # an extended trace costs more, and a rating is no reason to keep it
                stop_after_attempt=1,
            )
        except Exception as error:  # noqa: BLE001 - a rating that can't be sent must not stop the next
            if _is_transient(error) or self._project_id is None:  # the first trace creates the project
                return False
            _log.warning("failed to send a rating to LangSmith: %s; %s", *langsmith_trouble(error))
        return True

    def link(self, run_id: str) -> str | None:
        """Return the address of a run's trace, None if LangSmith does not tell; it blocks until it has told once."""
        if self._project_url is None:
            with suppress(Exception):  # whatever it is: a message without a link is better than none
                self._project_url = self._client.read_project(project_name=self._project).url
        return f"{self._project_url}/r/{run_id}?poll=true" if self._project_url else None

    def close(self) -> None:
        """Wait briefly for unsent traces to be sent, and drop the rest."""
        self._closing.set()
        self._thread.join(_SHUTDOWN_WAIT)
        self._client.close(timeout=0)
        unsent = self._unsent + self._queue.qsize()
        if unsent:
            traces_dropped.add(unsent)
            _log.warning("%d traces were not sent to LangSmith", unsent)

    def _send_loop(self) -> None:
        while reports := self._next_batch():
            self._unsent = len(reports)
            if self._send(reports):
                self._unsent = 0
            elif self._closing.is_set():
                return

    def _next_batch(self) -> list[RunReport]:
        """Wait for reports; none at shutdown once the queue is empty."""
        reports: list[RunReport] = []
        taken = 0
        while not reports and not (self._closing.is_set() and self._queue.empty()):
            with suppress(queue.Empty):
                while len(reports) < _BATCH and taken < _BATCH_SIZE:
                    size, report = self._queue.get(timeout=0 if reports else 0.1)
                    reports.append(report)
                    taken += size
        with self._size_lock:
            self._size -= taken
        return reports

    def _send(self, reports: Sequence[RunReport]) -> bool:
        """Send traces, retrying while LangSmith is down; return False if they are still unsent at shutdown."""
        while True:
            try:
                with self._breaker:
                    if self._is_down:  # checked first, so that the traces are not rebuilt in vain
                        self._client.request_with_retries("GET", "/info", stop_after_attempt=1)
                    self._ingest([run for report in reports for run in self._traces.of(report)])
                    self._is_down = False
                    self._told = ""
            except Exception as error:  # noqa: BLE001 - a trace that can't be sent must not stop the next
                if not _is_transient(error):
                    if len(reports) > 1:  # at least one is refused, so each is sent on its own
                        return all(self._send([report]) for report in reports)
                    traces_dropped.add(len(reports))
                    _log.warning("failed to send a trace: LangSmith %s; %s", *langsmith_trouble(error))
                    return True
                self._is_down = True
                self._tell(error)
            else:
                return True
            if self._closing.wait(_PAUSE / 10):
                return False

    def _tell(self, error: Exception) -> None:
        trouble = "" if isinstance(error, BreakerOpen) else "; ".join(langsmith_trouble(error))
        if trouble and trouble != self._told:
            _log.warning("LangSmith %s", trouble)
            self._told = trouble

    def _ingest(self, runs: list[dict[str, Any]]) -> None:
        self._errors.clear()
        limits = self._client.info.batch_ingest_config
        if limits is None or limits.get("use_multipart_endpoint", True):
            self._client.multipart_ingest(create=runs)
        else:
            self._client.batch_ingest_runs(create=runs)
        if self._errors:
            raise self._errors[0]


def _size(report: RunReport) -> int:
    """Return roughly how many characters a report has; it runs in the event loop, so it must be fast."""
    prompts = sum(len(message.content) for call in report.calls for message in call.prompt)
    replies = sum(len(call.text) for call in report.calls) + sum(len(tool.text) for tool in report.tools)
    return prompts + len(report.question) + replies


def _is_transient(error: Exception) -> bool:
    """Whether a retry may succeed: LangSmith is down, or does not accept the key at the moment."""
    status = status_of(error) or 503
    expected = isinstance(error, LangSmithError | BreakerOpen | OSError)  # OSError: connection errors
    return expected and (status in _RETRYABLE_STATUSES or status >= 500)


def _masked(redactor: Redactor, value: dict[str, Any]) -> dict[str, Any]:
    masked: Any = redactor.value(value)
    return cast("dict[str, Any]", masked) if isinstance(masked, dict) else dict.fromkeys(value, DROPPED)


@contextmanager
def open_tracing(settings: AgentSettings, redactor: Redactor) -> Generator[Tracing | None]:
    """Connect to LangSmith if LANGSMITH_TRACING is true; on exit, unsent traces get a short time to be sent."""
    if not settings.langsmith_tracing:
        yield None
        return
    logging.getLogger("langsmith").setLevel(logging.CRITICAL)  # it logs every attempt; our breaker logs only changes
    tracing = Tracing(settings, redactor)
    try:
        yield tracing
    finally:
        tracing.close()
