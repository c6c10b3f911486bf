"""Has the agent answer the cases, several at once, and keeps what it answered so that a broken run can go on."""

import asyncio
import hashlib
import json
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import cast

from pydantic import ValidationError

from evals.cases import Case, Dataset
from evals.errors import CannotMeasure
from evals.outcome import Outcome
from graph.agent import SupportAgent, open_agent, whole_answer
from graph.errors import RunError
from graph.events import Done
from graph.observe.prices import OPENAI, cost
from graph.observe.redaction import DROPPED
from graph.observe.report import RunReport
from graph.redis import open_redis
from graph.settings import AgentSettings
from graph.state import AgentContext, Passage

AT_ONCE = 8
"""Cases that are answered side by side."""

_PACKAGES = Path(__file__).parent.parent
_ROOMS = ("cli", "evals", "graph", "local")  # whose code and data an answer depends on
_CONTEXT = AgentContext(tenant="eval")
_MOST_ERRORS = 0.02  # of the runs; with more there is no verdict
_FEWEST_ERRORS = 5  # that are too many, however few the runs
_MEASURED = frozenset({None, "answer-withheld"})  # errors that are the agent's own doing


@dataclass
class Player:
    """Puts cases to an agent, as its customers would."""

    agent: SupportAgent
    server: str
    """The model's, by whose prices a run's cost is reckoned."""
    secrets: Sequence[str]
    """What no outcome may hold, even if a server repeats it: an outcome is reported, and uploaded."""
    _reports: dict[str, RunReport] = field(default_factory=dict[str, RunReport])

    def observe(self, report: RunReport) -> None:
        """Keep what a run did until its outcome is made."""
        self._reports[report.run_id] = report

    async def play(self, case: Case, repeat: int) -> Outcome:
        """Have the conversation and return what came of its last question."""
        session = uuid.uuid4().hex if case.history else None
        reports: list[RunReport] = []
        began = time.perf_counter()
        try:
            for message in (*case.history, case.question):
                began = time.perf_counter()
                reports.append(await self._ask(message, session))
        except RunError as error:
            return Outcome(case=case.id, repeat=repeat, seconds=time.perf_counter() - began, error=error.code)
        done = _done(report := reports[-1])
        return Outcome(
            case=case.id,
            repeat=repeat,
            answer=self._masked(done.answer),
            complete=done.complete,
            category=done.category,
            passages={passage["id"]: passage["text"] for passage in _passages(report)},
            seconds=time.perf_counter() - began,
            tokens=sum(_done(report).tokens_used for report in reports),
            dollars=self._cost(reports),
            run_id=report.run_id,
        )

    def _masked(self, answer: str) -> str:
        for secret in self.secrets:
            answer = answer.replace(secret, DROPPED)
        return answer

    async def _ask(self, message: str, session: str | None) -> RunReport:
        if session is None:
            run = self.agent.stream(message, _CONTEXT)
        else:
            run = self.agent.sessions.turn(message, session, _CONTEXT)
            await self.agent.sessions.begin(run)
        try:
            await whole_answer(run.follow())
        finally:
            await run.ended()
            report = self._reports.pop(run.id, None)
        if report is None:
            raise AssertionError("a run that has ended has a report")
        return report

    def _cost(self, reports: Iterable[RunReport]) -> float | None:
        calls = (call for report in reports for call in report.calls)
        costs = [cost(self.server, call.model, call.input_tokens, call.output_tokens) for call in calls]
        return None if None in costs else sum(sum(one) for one in costs if one)


@asynccontextmanager
async def open_player(settings: AgentSettings) -> AsyncGenerator[Player]:
    """Open the agent that is judged, as the service opens it; raises StartError."""
    player: Player | None = None

    def observe(report: RunReport) -> None:
        if player:
            player.observe(report)

    async with open_redis(settings) as redis, open_agent(settings, redis, observe) as agent:
        keys = (settings.openai_api_key, settings.langsmith_api_key)
        secrets = [key.get_secret_value() for key in keys if key]
        await agent.knowledge.indexed()
        player = Player(agent, settings.openai_base_url or OPENAI, secrets)
        yield player


class Journal:
    """The outcomes so far, a line each, in a file that the next evaluation of the very same begins with.

    One evaluation at a time has it: another that opens it raises CannotMeasure.
    """

    def __init__(self, path: Path, fingerprint: str) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+", encoding="utf-8", errors="replace")
        try:
            flock(self._file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise CannotMeasure(
                f"{path.parent}: another evaluation writes its report there; wait for it, or choose another --report"
            ) from None
        self.outcomes: dict[tuple[str, int], Outcome] = {}
        """By case and repeat: first those of an evaluation that was broken off."""
        self._file.seek(0)
        first, *lines = self._file.read().split("\n")
        head = json.dumps({"fingerprint": fingerprint})
        if first == head:
            for line in lines:
                self._take(line)
        self._file.truncate(0)
        self._write(head, *(outcome.model_dump_json() for outcome in self.outcomes.values()))

    def add(self, outcome: Outcome) -> None:
        """Keep an outcome; one that measured nothing, not for the next evaluation."""
        self.outcomes[outcome.case, outcome.repeat] = outcome
        if not is_unmeasured(outcome):
            self._write(outcome.model_dump_json())

    def close(self, *, is_complete: bool) -> None:
        """Let others have it; nothing is kept of an evaluation that is complete."""
        if is_complete:
            self._path.unlink(missing_ok=True)
        self._file.close()

    def _write(self, *lines: str) -> None:
        self._file.write("".join(f"{line}\n" for line in lines))
        self._file.flush()

    def _take(self, line: str) -> None:
        try:
            outcome = Outcome.model_validate_json(line)
        except ValidationError:  # half a line, written when it broke off
            return
        self.outcomes[outcome.case, outcome.repeat] = outcome


def fingerprint(agent: SupportAgent, dataset: Dataset, *, offline: bool) -> str:
    """Return what changes with the cases, and with anything that answers depend on: articles, models, all our code.

    The offline model is at another address each time.
    """
    files = sorted(file for room in _ROOMS for file in (_PACKAGES / room).rglob("*") if file.suffix in {".py", ".npz"})
    code = hashlib.sha256(b"".join(file.read_bytes() for file in files))
    about = list(agent.versions.values()) if offline else [agent.version]
    parts = [dataset.hash, code.hexdigest(), *about]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


async def gather(play: Callable[[Case, int], Awaitable[object]], runs: Sequence[tuple[Case, int]]) -> None:
    """Play the cases, AT_ONCE side by side; the first exception ends them all."""
    free = asyncio.Semaphore(AT_ONCE)

    async def run(case: Case, repeat: int) -> None:
        async with free:
            await play(case, repeat)

    playing = [asyncio.create_task(run(case, repeat)) for case, repeat in runs]
    try:
        await asyncio.gather(*playing)
    finally:
        for one in playing:
            one.cancel()
        await asyncio.gather(*playing, return_exceptions=True)


class Errors:
    """Counts the runs that measured nothing, until there are too many."""

    def __init__(self, runs: int) -> None:
        self._most = max(_FEWEST_ERRORS - 1, int(_MOST_ERRORS * runs))
        self._count = 0

    def add(self, outcome: Outcome) -> None:
        """Count one; raises CannotMeasure."""
        if not is_unmeasured(outcome):
            return
        self._count += 1
        if self._count > self._most:
            raise CannotMeasure(
                f"{self._count} runs ended without an answer, the last with {outcome.error}; mend that and run this "
                "again, it goes on where it stopped"
            )


def is_unmeasured(outcome: Outcome) -> bool:
    """Whether a run says nothing about the agent: what it depends on was down."""
    return outcome.error not in _MEASURED


def _done(report: RunReport) -> Done:
    if isinstance(report.ending, Done):
        return report.ending
    raise AssertionError("a run that did not fail has an answer")


def _passages(report: RunReport) -> list[Passage]:
    for step in report.steps:
        if step.update and "passages" in step.update:
            return cast("list[Passage]", step.update["passages"])
    return []
