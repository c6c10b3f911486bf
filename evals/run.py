"""Runs the agent on the cases in parallel, and saves the outcomes so that an interrupted evaluation can resume."""

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

from evals.cases import NEED_TOOLS, Case, Dataset
from evals.errors import CannotMeasure
from evals.outcome import Outcome
from graph.actions.mcp import Tools
from graph.actions.reasons import without_time
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
"""Cases that run in parallel."""

_PACKAGES = Path(__file__).parent.parent
_ROOMS = ("cli", "evals", "graph", "local")  # packages whose code and data affect answers
_CONTEXT = AgentContext(tenant="eval")
_MOST_ERRORS = 0.02  # share of the runs; with more there is no verdict
_FEWEST_ERRORS = 5  # number that is too many, however few runs there are
_MEASURED = frozenset({None, "answer-withheld"})  # None, and errors that the agent itself causes


@dataclass
class CaseRunner:
    """Runs cases against an agent, as a customer would use it."""

    agent: SupportAgent
    server: str
    """Base URL of the model's server, which determines the prices."""
    secrets: Sequence[str]
    """Strings to mask in answers, since outcomes are reported and uploaded."""
    _reports: dict[str, RunReport] = field(default_factory=dict[str, RunReport])

    def observe(self, report: RunReport) -> None:
        """Store a run's report until its outcome is built."""
        self._reports[report.run_id] = report

    async def run(self, case: Case, repeat: int) -> Outcome:
        """Hold the conversation, and return the outcome of its last question."""
        needs_session = case.history or case.proposes or case.hands_over is not None
        session = uuid.uuid4().hex if needs_session else None
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
            answer=self._masked(without_time(done.answer) if done.handoff else done.answer),
            handed_over=done.handoff.reason if done.handoff else None,
            complete=done.complete,
            answered=done.answered,
            proposed=done.action.kind if done.action else None,
            category=done.category,
            passages=_texts(_passages(report)) | {f"result of {tool.name}": tool.text for tool in report.tools},
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
async def open_runner(settings: AgentSettings, dataset: Dataset) -> AsyncGenerator[CaseRunner]:
    """Open the agent as the service does, for evaluation; raises StartError.

    It uses no MCP server. If cases need tools, it has those of `DeskTools`.
    """
    tools = Tools()
    if NEED_TOOLS & dataset.suites.keys():
        from evals.desk_tools import DeskTools

        tools = DeskTools()
    runner: CaseRunner | None = None

    def observe(report: RunReport) -> None:
        if runner:
            runner.observe(report)

    async with open_redis(settings) as redis, open_agent(settings, redis, observe, tools) as agent:
        keys = (settings.openai_api_key, settings.langsmith_api_key)
        secrets = [key.get_secret_value() for key in keys if key]
        await agent.knowledge.indexed()
        runner = CaseRunner(agent, settings.openai_base_url or OPENAI, secrets)
        yield runner


class Journal:
    """The outcomes so far, one per line of a file, from which an evaluation with the same fingerprint resumes.

    The file is locked: a second evaluation that opens it raises CannotMeasure.
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
                f"{path.parent}: another evaluation is writing its report there; wait, or choose another --report"
            ) from None
        self.outcomes: dict[tuple[str, int], Outcome] = {}
        """By case and repeat; initially those of an interrupted evaluation."""
        self._file.seek(0)
        first, *lines = self._file.read().split("\n")
        head = json.dumps({"fingerprint": fingerprint})
        if first == head:
            for line in lines:
                self._take(line)
        self._file.truncate(0)
        self._write(head, *(outcome.model_dump_json() for outcome in self.outcomes.values()))

    def add(self, outcome: Outcome) -> None:
        """Add an outcome; save it to the file if it measured something."""
        self.outcomes[outcome.case, outcome.repeat] = outcome
        if not is_unmeasured(outcome):
            self._write(outcome.model_dump_json())

    def close(self, *, is_complete: bool) -> None:
        """Close and unlock the file, and delete it if the evaluation is complete."""
        if is_complete:
            self._path.unlink(missing_ok=True)
        self._file.close()

    def _write(self, *lines: str) -> None:
        self._file.write("".join(f"{line}\n" for line in lines))
        self._file.flush()

    def _take(self, line: str) -> None:
        try:
            outcome = Outcome.model_validate_json(line)
        except ValidationError:  # a partial line of an interrupted evaluation
            return
        self.outcomes[outcome.case, outcome.repeat] = outcome


def fingerprint(agent: SupportAgent, dataset: Dataset, *, offline: bool) -> str:
    """Return a hash of the cases and of everything that affects answers: articles, models, and all our code.

    The offline model's address is left out, because it differs on each start.
    """
    files = sorted(file for room in _ROOMS for file in (_PACKAGES / room).rglob("*") if file.suffix in {".py", ".npz"})
    code = hashlib.sha256(b"".join(file.read_bytes() for file in files))
    about = list(agent.versions.values()) if offline else [agent.version]
    parts = [dataset.hash, code.hexdigest(), *about]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


async def run_all(run: Callable[[Case, int], Awaitable[object]], runs: Sequence[tuple[Case, int]]) -> None:
    """Run the cases, AT_ONCE in parallel; the first exception cancels the rest."""
    free = asyncio.Semaphore(AT_ONCE)

    async def limited(case: Case, repeat: int) -> None:
        async with free:
            await run(case, repeat)

    tasks = [asyncio.create_task(limited(case, repeat)) for case, repeat in runs]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Errors:
    """Counts the runs that measured nothing, up to a limit."""

    def __init__(self, runs: int) -> None:
        self._most = max(_FEWEST_ERRORS - 1, int(_MOST_ERRORS * runs))
        self._count = 0

    def add(self, outcome: Outcome) -> None:
        """Count the outcome if it measured nothing; raises CannotMeasure beyond the limit."""
        if not is_unmeasured(outcome):
            return
        self._count += 1
        if self._count > self._most:
            raise CannotMeasure(
                f"{self._count} runs ended without an answer, the last with {outcome.error}; fix that and run this "
                "again to resume"
            )


def is_unmeasured(outcome: Outcome) -> bool:
    """Whether a run failed because a dependency was down, so that it does not measure the agent."""
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


def _texts(passages: Sequence[Passage]) -> dict[str, str]:
    """Return what was found of each article, best first; an article that was found twice counts once."""
    texts: dict[str, list[str]] = {}
    for passage in passages:
        texts.setdefault(passage["id"], []).append(passage["text"])
    return {name: "\n\n".join(several) for name, several in texts.items()}
