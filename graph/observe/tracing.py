"""Traces of runs, in LangSmith.

Own code between a run's report and LangSmith's client, since the client's own tracing works in the event loop (3 ms
of CPU a run), keeps what it can't send without a bound, and delays the exit. Here a run costs one put into a bounded
queue; a thread makes the trace, masks it, and sends it with LangSmith's client. What finds no room, or has not been
sent when the service ends, is dropped and counted.
"""

import logging
import queue
import threading
import uuid
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, cast

from langsmith import Client
from langsmith.utils import LangSmithError
from urllib3 import Retry

from graph.breaker import Breaker, BreakerOpen
from graph.errors import SettingsError
from graph.observe.metrics import traces_dropped
from graph.observe.redaction import DROPPED, Redactor
from graph.observe.report import RunReport
from graph.observe.trace import Traces
from graph.settings import AgentSettings

_WAITING = 8_000_000  # characters of reports that wait, of 10,000 to 20,000 each as a rule
_BATCH = 50  # reports that are sent at once
_BATCH_SIZE = 1_000_000  # characters of them, unless one is longer
_PAUSE = 2.0  # seconds between two attempts to send while LangSmith is away
_EXIT = 1.5  # seconds that the service's end may wait for what is unsent
_TIMEOUT = (1_000, 2_000)  # milliseconds to connect, and to be answered; traces have LangSmith's own
_PASSING_STATUSES = frozenset({401, 403, 408, 429})  # and all from 500 on

_log = logging.getLogger(__name__)


class Tracing:
    """Sends the reports that it observes to LangSmith."""

    def __init__(self, settings: AgentSettings, versions: Mapping[str, str], redactor: Redactor) -> None:
        self._errors: list[Exception] = []
        self._client = Client(
            settings.langsmith_endpoint,
            api_key=settings.langsmith_api_key.get_secret_value() if settings.langsmith_api_key else None,
            workspace_id=settings.langsmith_workspace,
            tracing_sampling_rate=settings.langsmith_sampling,
            anonymizer=partial(_masked, redactor),
            tracing_error_callback=self._errors.append,
            timeout_ms=_TIMEOUT,
            retry_config=Retry(0),  # _send does
            auto_batch_tracing=False,
            omit_traced_runtime_info=True,
            disable_prompt_cache=True,
        )
        self._project = settings.langsmith_project
        self._project_id: uuid.UUID | None = None
        self._traces = Traces(settings, versions)
        self._waiting: queue.SimpleQueue[tuple[int, RunReport]] = queue.SimpleQueue()
        self._size = 0
        self._sizing = threading.Lock()
        self._closing = threading.Event()
        self._unsent = 0
        self._is_away = False
        self._thread = threading.Thread(target=self._keep_sending, name="langsmith", daemon=True)
        self._breaker = Breaker("LangSmith", _may_pass, threshold=1, pause=_PAUSE)
        self._thread.start()

    def observe(self, report: RunReport) -> None:
        """Have a run's trace sent, or dropped where too many wait."""
        size = _size(report)
        with self._sizing:
            fits = self._size + size <= _WAITING and not self._closing.is_set()
            self._size += size if fits else 0
        if fits:
            self._waiting.put((size, report))
        else:
            traces_dropped.add(1)

    def rate(self, run_id: str, score: float, comment: str | None, name: str) -> bool:
        """Attach a rating to a run, and wait for it; return False where LangSmith is away.

        A rating that LangSmith refuses is dropped. `name` tells it from others when it is sent again.
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
                stop_after_attempt=1,
            )
        except Exception as error:  # noqa: BLE001 - a rating that can't be sent must not stop the next
            if _may_pass(error) or self._project_id is None:  # the first trace makes the project
                return False
            _log.warning("a rating can't be sent: %s", type(error).__name__)
        return True

    def close(self) -> None:
        """Send what waits, for a short while, and drop the rest."""
        self._closing.set()
        self._thread.join(_EXIT)
        self._client.close(timeout=0)
        unsent = self._unsent + self._waiting.qsize()
        if unsent:
            traces_dropped.add(unsent)
            _log.warning("%d traces were not sent to LangSmith", unsent)

    def _keep_sending(self) -> None:
        while reports := self._next():
            self._unsent = len(reports)
            if self._send(reports):
                self._unsent = 0
            elif self._closing.is_set():
                return

    def _next(self) -> list[RunReport]:
        """Wait for reports; none once nothing waits and the service ends."""
        reports: list[RunReport] = []
        taken = 0
        while not reports and not (self._closing.is_set() and self._waiting.empty()):
            with suppress(queue.Empty):
                while len(reports) < _BATCH and taken < _BATCH_SIZE:
                    size, report = self._waiting.get(timeout=0 if reports else 0.1)
                    reports.append(report)
                    taken += size
        with self._sizing:
            self._size -= taken
        return reports

    def _send(self, reports: Sequence[RunReport]) -> bool:
        """Send traces for as long as LangSmith may come back; return whether they are gone from here."""
        while True:
            try:
                with self._breaker:
                    if self._is_away:  # asked before the traces are made again, for nothing
                        self._client.request_with_retries("GET", "/info", stop_after_attempt=1)
                    self._ingest([run for report in reports for run in self._traces.of(report)])
                    self._is_away = False
            except Exception as error:  # noqa: BLE001 - a trace that can't be sent must not stop the next
                if not _may_pass(error):
                    if len(reports) > 1:  # one of them, and not the others
                        return all(self._send([report]) for report in reports)
                    traces_dropped.add(len(reports))
                    _log.warning("a trace can't be sent: %s", type(error).__name__)
                    return True
                self._is_away = True
            else:
                return True
            if self._closing.wait(_PAUSE / 10):
                return False

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
    """Return about how many characters a report holds; it is reckoned in the event loop, so quickly."""
    prompts = sum(len(message.content) for call in report.calls for message in call.prompt)
    return prompts + len(report.question) + sum(len(call.text) for call in report.calls)


def _may_pass(error: Exception) -> bool:
    """Whether the same may be sent later: LangSmith is away, or does not know the key for now."""
    response = getattr(error.__context__, "response", None)
    status = 503 if response is None else response.status_code
    expected = isinstance(error, LangSmithError | BreakerOpen | OSError)  # the last are those of connections
    return expected and (status in _PASSING_STATUSES or status >= 500)


def _masked(redactor: Redactor, value: dict[str, Any]) -> dict[str, Any]:
    masked: Any = redactor.value(value)
    return cast("dict[str, Any]", masked) if isinstance(masked, dict) else dict.fromkeys(value, DROPPED)


@contextmanager
def open_tracing(settings: AgentSettings, versions: Mapping[str, str], redactor: Redactor) -> Generator[Tracing | None]:
    """Connect to LangSmith, if LANGSMITH_TRACING says so; on leaving, what is unsent has a short while."""
    if not settings.langsmith_tracing:
        yield None
        return
    logging.getLogger("langsmith").setLevel(logging.CRITICAL)  # it logs each attempt; the breaker, each change
    try:
        tracing = Tracing(settings, versions, redactor)
    except LangSmithError as error:
        raise SettingsError(
            "LANGSMITH_: these variables contradict each other; set those alone that .env.example has"
        ) from error
    try:
        yield tracing
    finally:
        tracing.close()
