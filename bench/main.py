"""The command `python -m bench`: measures what an answer costs, beside what people would run instead.

Exits with 0; with --check, 1 if a row got worse than in bench/results.json; 2 if something could not be measured.
"""

import asyncio
import contextlib
import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import psutil
import typer
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from bench import check as checking
from bench import report
from bench.contest import FULL, QUICK, Plan
from bench.groups import Group, wanted
from bench.results import Results, Samples
from bench.rows import ROWS
from bench.servers import REPOSITORY, Lab, NotHere, Unmeasured, prepare_environment
from local.process import LocalServiceError

COMMITTED = REPOSITORY / "bench/results.json"
DOCUMENT = REPOSITORY / "docs/benchmarks.md"
FOLDER = Path("bench-report")

_UNMEASURED = 2  # exit code
_TROUBLE = (Unmeasured, LocalServiceError, psutil.Error, OSError, ValueError)
_console = Console(stderr=True)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Measure less, in under two minutes.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Compare with bench/results.json.")] = False,
    update: Annotated[bool, typer.Option("--update", help="Renew bench/results.json and docs/benchmarks.md.")] = False,
    row: Annotated[list[str] | None, typer.Option(help="Measure this row alone; may be repeated.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds instead of 7, or of 3 with --quick.")] = None,
    requests: Annotated[
        int | None, typer.Option(min=1, help="Requests in a round instead of 320, or of 40 with --quick.")
    ] = None,
    results: Annotated[Path | None, typer.Option(help="Take these results instead of measuring.")] = None,
    committed: Annotated[Path, typer.Option(help="What --check compares with.")] = COMMITTED,
) -> None:
    """Measure what an answer costs; write results.json and plots into bench-report."""
    plan = QUICK if quick else FULL
    plan = replace(plan, rounds=rounds or plan.rounds, requests=requests or plan.requests)
    try:
        if update and not results and (quick or row):
            raise Unmeasured("--update needs a run of all rows, without --quick and --row")
        found = Results.read(results) if results else _measure(plan, _known(row or []))
        if update:
            _update(found)
        code = _check(found, committed) if check else 0
        sys.exit(code or (_UNMEASURED if found.failed else 0))
    except _TROUBLE as error:
        _console.print(f"bench: {error or type(error).__name__}", style="red", markup=False)
        sys.exit(_UNMEASURED)


def _known(keys: list[str]) -> list[str]:
    if unknown := set(keys) - {row.key for row in ROWS}:
        raise Unmeasured(f"no row is called {', '.join(sorted(unknown))}; rows: {', '.join(row.key for row in ROWS)}")
    return keys


def _measure(plan: Plan, keys: list[str]) -> Results:
    """Measure, print the table, and write the report."""
    folder = FOLDER.resolve()
    folder.mkdir(exist_ok=True)
    prepare_environment()
    groups, left_out = wanted(plan, keys)
    samples: dict[str, Samples] = {}
    failed: dict[str, str] = {}
    # The service reads a file .env in its working directory.
    with TemporaryDirectory() as empty, contextlib.chdir(empty), Lab() as lab, _progress(len(groups)) as shown:
        for group in groups:
            try:
                samples |= _run(group, lab, plan, shown)
            except NotHere as error:
                left_out |= dict.fromkeys(group.keys, str(error))
            except _TROUBLE as error:
                failed |= {key: str(error) or type(error).__name__ for key in group.keys if key not in left_out}
            shown.group_done()
    measured = {key: one for key, one in samples.items() if key not in left_out}
    found = Results.of(measured, left_out, failed, quick=plan.quick, rounds=plan.rounds, requests=plan.requests)
    found.write(folder / "results.json")
    report.plot(found, folder)
    Console().print(report.table(found))
    for why in sorted(set(left_out.values())):
        _console.print(f"left out, {why}: {', '.join(key for key, one in left_out.items() if one == why)}")
    for key, why in failed.items():
        _console.print(f"bench: {key}: {why}", style="red", markup=False)
    _console.print(f"written to {os.path.relpath(folder)}")
    return found


def _run(group: Group, lab: Lab, plan: Plan, shown: "_Shown") -> dict[str, Samples]:
    shown.begin(group.name)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(group.measure(lab, plan, shown))


def _update(found: Results) -> None:
    """Renew what is committed; raises Unmeasured unless every row was measured."""
    if lacking := found.left_out | found.failed:
        raise Unmeasured(f"--update needs a run of all rows; left out: {', '.join(lacking)}")
    found.write(COMMITTED)
    report.put_into(DOCUMENT, found)


def _check(found: Results, committed: Path) -> int:
    """Print what is worse or missing, and return the exit code."""
    before = Results.read(committed)
    worse, missing = checking.worse(before, found), checking.missing(before, found)
    for line in worse:
        print(f"worse: {line}")
    for key in missing:
        print(f"not measured: {key}")
    return 1 if worse else _UNMEASURED if missing else 0


class _Shown:
    """The progress bars: one of the groups, one of the steps in the current one."""

    def __init__(self, progress: Progress, groups: TaskID, steps: TaskID) -> None:
        self._progress, self._groups, self._steps = progress, groups, steps

    def begin(self, name: str) -> None:
        self._progress.reset(self._steps, description=name, total=None)

    def expect(self, steps: int) -> None:
        self._progress.update(self._steps, total=steps)

    def step(self) -> None:
        self._progress.advance(self._steps)

    def group_done(self) -> None:
        self._progress.advance(self._groups)


@contextmanager
def _progress(groups: int) -> Generator[_Shown]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=_console) as progress:
        yield _Shown(progress, progress.add_task("all", total=groups), progress.add_task("", total=None))
