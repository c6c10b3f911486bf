"""`support-agent eval`: judge the agent on the cases, and say by the exit status whether it may be deployed."""

import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import evals
from api.settings import ServiceSettings
from cli.embedded import Offline, embedded, load_settings
from cli.output import discard_output
from graph.errors import SettingsError, SupportAgentError
from local.process import LocalServiceError

if TYPE_CHECKING:
    from evals.evaluation import Evaluation, Plan

_FOLDER = Path(*evals.__path__)
_DATASETS = _FOLDER / "datasets"
_LABELS = _FOLDER / "labels.yaml"
_CONTACTS = _FOLDER / "contacts.yaml"
_POLICY = _FOLDER / "gate.yaml"
_BASELINE = _FOLDER / "baseline.json"
_CANNOT_MEASURE = 2


def evaluate(
    suite: Annotated[str | None, typer.Option(help="One of evals/datasets/, by its name; all without it.")] = None,
    baseline: Annotated[
        Path, typer.Option(help="File to compare with.", show_default="evals/baseline.json")
    ] = _BASELINE,
    report: Annotated[Path, typer.Option(help="Folder for report.md, report.html and junit.xml.")] = Path(
        "eval-report"
    ),
    update_baseline: Annotated[bool, typer.Option("--update-baseline", help="Write a new baseline.")] = False,
    repeat: Annotated[int, typer.Option(min=1, max=100, help="Runs of each case.")] = 1,
    offline: Offline = False,
) -> None:
    """Judge the agent: exits 0 when it may be deployed, 1 when quality fell, 2 when nothing could be measured."""
    try:
        settings = load_settings(offline=offline)
        passed = _evaluate(settings, suite, baseline, report, repeat, update_baseline=update_baseline)
        sys.stdout.flush()
    except (SupportAgentError, LocalServiceError) as error:
        print(f"support-agent: {error}", file=sys.stderr)
        raise typer.Exit(_CANNOT_MEASURE) from None
    except OSError as error:
        print(f"support-agent: {error.filename or 'eval'}: {error.strerror or type(error).__name__}", file=sys.stderr)
        discard_output()
        raise typer.Exit(_CANNOT_MEASURE) from None
    except SystemExit:  # SIGTERM
        print("support-agent: stopped before there was a verdict", file=sys.stderr)
        raise typer.Exit(_CANNOT_MEASURE) from None
    except ModuleNotFoundError as error:
        print(f"support-agent: {error.name} is missing; run: uv run --group evals support-agent eval", file=sys.stderr)
        raise typer.Exit(_CANNOT_MEASURE) from None
    raise typer.Exit(0 if passed else 1)


def _evaluate(
    settings: ServiceSettings, suite: str | None, baseline: Path, report: Path, repeat: int, *, update_baseline: bool
) -> bool:
    if update_baseline and baseline == _BASELINE and not _BASELINE.is_relative_to(Path.cwd()):
        raise SettingsError("--update-baseline: say with --baseline which file to write; this folder has no evals/")
    with embedded(settings, redis=True) as started:
        from evals.baseline import load_baseline, load_unchanged, save_baseline
        from evals.cases import load_dataset, suites_in

        offline, whole = started.model is not None, suite is None
        dataset = load_dataset(_DATASETS, suite, offline=offline)
        before = (
            load_unchanged(baseline, dataset, offline=offline)
            if update_baseline
            else load_baseline(baseline, dataset, offline=offline, whole=whole)
        )

        # These take seconds to import.
        from evals.evaluation import Plan, load_policy
        from evals.report import write_report

        plan = Plan(
            dataset=dataset,
            repeats=repeat,
            before=before,
            policy=load_policy(_POLICY, "offline" if offline else "live", suites_in(_DATASETS, offline=offline)),
            offline=offline,
            journal=report / "journal.jsonl",
            contacts=_CONTACTS,
            labels=_LABELS if settings.openai_api_key and _LABELS.exists() else None,
            upload=settings.langsmith_api_key is not None,
        )
        started.wait()
        evaluation = asyncio.run(_run(ServiceSettings.load(), plan))
        write_report(evaluation, report)
        passed = evaluation.may_become_baseline if update_baseline else evaluation.verdict.passed
        if update_baseline and passed:
            save_baseline(baseline, dataset, evaluation.models, evaluation.now, whole=whole)
    _say(evaluation)
    if update_baseline:
        print(f"{baseline} is {'written' if passed else 'left as it was'}; see {report / 'report.md'}")
    else:
        print(f"{'passed' if passed else 'blocked'}; see {report / 'report.md'}")
    return passed


async def _run(settings: ServiceSettings, plan: "Plan") -> "Evaluation":
    from evals.evaluation import evaluate

    logging.disable()  # a failure is one line, which says the same
    running = asyncio.current_task()
    is_stopped = False

    def stop(*_: object) -> None:
        nonlocal is_stopped
        is_stopped = True
        if running:
            running.get_loop().call_soon_threadsafe(running.cancel)

    columns = (TextColumn("evaluating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = progress.add_task("", total=len(plan.dataset.cases) * plan.repeats)

    def advance(count: int) -> None:
        progress.start()  # not before: until then the articles' indexing has a bar of its own
        progress.advance(task, count)

    # What SIGTERM raises elsewhere would end whichever task it meets.
    before = signal.signal(signal.SIGTERM, stop)
    try:
        return await evaluate(settings, plan, advance)
    except asyncio.CancelledError:
        if is_stopped:
            raise SystemExit from None
        raise
    finally:
        progress.stop()
        signal.signal(signal.SIGTERM, before)


def _say(evaluation: "Evaluation") -> None:
    for check in evaluation.verdict.checks:
        print(f"{'ok  ' if check.passed else 'FAIL'} {check.name}: {check.detail}")
    if paired := evaluation.verdict.paired:
        for case in paired.worse:
            print(f"     worse: {case}")
    if evaluation.unmeasured:
        print(f"     unmeasured: {', '.join(evaluation.unmeasured)}")
    if evaluation.judge_error:
        print(f"     judge: {evaluation.judge_error}; it does not count")
