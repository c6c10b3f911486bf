"""Runs an evaluation, from the cases to the verdict."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from evals.baseline import OFFLINE, BaselineCase, Comparison, shortened
from evals.cases import Case, Dataset
from evals.contacts import check_contacts
from evals.errors import CannotMeasure, JudgeUnusable
from evals.evaluators import Evaluator, Score, evaluators, judge
from evals.experiment import experiment
from evals.gate import NOT_WORSE, Check, Policy, Result, Verdict, floor_check, gate, rate_of
from evals.judging import Judged, judge_answers, load_labels
from evals.outcome import Outcome
from evals.run import CaseRunner, Errors, Journal, fingerprint, is_unmeasured, open_runner, run_all
from graph.retrieval.articles import read_library
from graph.settings import AgentSettings

UNSAFE = frozenset({"conduct", "no_leak"})
"""Evaluators that no run may fail."""

UNSAFE_IF_SAFETY = UNSAFE | {"forbidden_facts", "groundedness"}
"""Evaluators that no run of a safety case may fail."""


@dataclass(frozen=True)
class Plan:
    """What to evaluate, and what to compare it with."""

    dataset: Dataset
    repeats: int
    before: Comparison | None
    """The baseline; None if there is none."""
    policy: Policy
    offline: bool
    """Whether the offline model answers."""
    journal: Path
    """File with the outcomes until the evaluation is complete."""
    contacts: Path
    """File with the right contact of each desk; without it those of company.yaml are taken to be right."""
    labels: Path | None
    """Labels to check the judge with; None for no judge."""
    upload: bool
    """Whether to run it as an experiment in LangSmith."""


@dataclass(frozen=True)
class Evaluation:
    """The results of an evaluation."""

    plan: Plan
    models: str
    dataset: Dataset
    """The cases that were measured."""
    unmeasured: Sequence[str]
    """The cases that were not, because a dependency failed in each of their runs."""
    outcomes: Mapping[str, Sequence[Outcome]]
    """For each case, the outcomes of the runs that measured something."""
    scores: Mapping[str, Sequence[Sequence[Score]]]
    """For each of these outcomes, the evaluators' scores."""
    verdict: Verdict
    judged: Judged | None
    judge_error: str | None
    """Why the judge gave no verdict, if it should have."""
    experiment: str | None
    """Its name in LangSmith."""

    @cached_property
    def now(self) -> dict[str, BaselineCase]:
        """The results in the format of a baseline."""
        return {
            result.case: BaselineCase(
                passed=result.passed,
                failed=sorted(result.failed),
                answer=shortened(self.outcomes[result.case][0].answer),
            )
            for result in results(self.dataset, self.scores)
        }

    @property
    def may_become_baseline(self) -> bool:
        """Whether all cases were measured and all checks pass, except the comparison with the old baseline."""
        return not self.unmeasured and all(check.passed for check in self.verdict.checks if check.name != NOT_WORSE)

    def mean(self, evaluator: str) -> float | None:
        """Return the mean value of an evaluator's scores, or None if it scored no answer."""
        found = [
            float(score.passed) if score.value is None else score.value
            for runs in self.scores.values()
            for scores in runs
            for score in scores
            if score.evaluator == evaluator
        ]
        return sum(found) / len(found) if found else None


async def evaluate(settings: AgentSettings, plan: Plan, advance: Callable[[int], object]) -> Evaluation:
    """Run the agent on all cases and judge the answers; raises CannotMeasure and StartError.

    `advance` is called with the number of new answers, for a progress bar.
    """
    library = await asyncio.to_thread(read_library, settings)
    articles = {article.id: article.text for article in library.articles}
    plan.dataset.require(articles.keys())
    plan.dataset.require_desks(library.company.names)
    check_contacts(plan.contacts, library.company)
    judges = evaluators(library.company)
    labels = load_labels(plan.labels) if plan.labels else None
    models = f"{settings.classify_model}, {settings.answer_model}, {settings.embedding_model}"
    models = OFFLINE if plan.offline else models
    async with open_runner(settings, plan.dataset) as runner:
        journal = Journal(plan.journal, fingerprint(runner.agent, plan.dataset, offline=plan.offline))
        is_complete = False
        try:
            name = await _answer(settings, plan, runner, journal, judges, advance, models)
            outcomes, unmeasured = _measured(plan, journal)
            dataset = plan.dataset.without(unmeasured)
            judged, judge_error = None, None
            if labels:
                first = {case: runs[0] for case, runs in outcomes.items()}
                try:
                    judged = await judge_answers(settings, dataset.cases, first, labels, articles)
                except JudgeUnusable as error:
                    judge_error = str(error)
            is_complete = True
        finally:
            journal.close(is_complete=is_complete)
    scores = {case.id: [judge(case, outcome, judges) for outcome in outcomes[case.id]] for case in dataset.cases}
    runs = [outcome for some in outcomes.values() for outcome in some]
    verdict = gate(
        results(dataset, scores),
        plan.before.cases if plan.before else None,
        [outcome.seconds for outcome in runs],
        dollars(runs, len(runs)),
        plan.policy,
    )
    if judged and judged.counts:
        verdict = replace(verdict, checks=(*verdict.checks, _judge_check(dataset, judged, plan.policy)))
    return Evaluation(plan, models, dataset, unmeasured, outcomes, scores, verdict, judged, judge_error, name)


def dollars(runs: Sequence[Outcome], share: int = 1) -> float | None:
    """Return the cost of runs in US dollars, divided by `share`; None if a price is unknown."""
    costs = [outcome.dollars for outcome in runs if not outcome.error]
    return None if None in costs else sum(one for one in costs if one) / share


def _measured(plan: Plan, journal: Journal) -> tuple[dict[str, list[Outcome]], list[str]]:
    """Return the outcomes that measured something, and the cases without any; raises CannotMeasure."""
    runs = {
        case.id: [journal.outcomes[case.id, repeat] for repeat in range(plan.repeats)] for case in plan.dataset.cases
    }
    outcomes = {case: [one for one in some if not is_unmeasured(one)] for case, some in runs.items()}
    unmeasured = [case.id for case in plan.dataset.cases if not outcomes[case.id]]
    for case in plan.dataset.cases:
        if case.safety and not outcomes[case.id]:
            raise CannotMeasure(f"the safety case {case.id!r} got no answer: {runs[case.id][0].error}")
    return {case: some for case, some in outcomes.items() if some}, unmeasured


def results(dataset: Dataset, scores: Mapping[str, Sequence[Sequence[Score]]]) -> list[Result]:
    """Return each case's result for the gate."""
    return [_result(dataset.suite_of[case.id], case, scores[case.id]) for case in dataset.cases]


def failures(scores: Sequence[Score]) -> list[str]:
    """Return the failed evaluators and their reasons."""
    return [f"{score.evaluator}: {score.reason}" for score in scores if not score.passed]


def _result(suite: str, case: Case, runs: Sequence[Sequence[Score]]) -> Result:
    kinds = UNSAFE_IF_SAFETY if case.safety else UNSAFE
    unsafe = [any(score.evaluator in kinds and not score.passed for score in scores) for scores in runs]
    return Result(
        case=case.id,
        suite=suite,
        intent=case.intent,
        runs=tuple({score.evaluator: score.passed for score in scores} for scores in runs),
        safety=case.safety,
        violations=sum(unsafe),
    )


async def _answer(
    settings: AgentSettings,
    plan: Plan,
    runner: CaseRunner,
    journal: Journal,
    judges: Sequence[Evaluator],
    advance: Callable[[int], object],
    models: str,
) -> str | None:
    """Fill the journal; return the name of the experiment in LangSmith, if there is one."""
    runs = [(case, repeat) for repeat in range(plan.repeats) for case in plan.dataset.cases]
    advance(len(journal.outcomes))
    errors = Errors(len(runs))

    async def answered(case: Case, repeat: int) -> Outcome:
        known = journal.outcomes.get((case.id, repeat))
        if known:
            return known
        outcome = await runner.run(case, repeat)
        if is_unmeasured(outcome):
            outcome = await runner.run(case, repeat)
        journal.add(outcome)
        advance(1)
        errors.add(outcome)
        return outcome

    name = None
    if plan.upload:
        about = {"models": models, "dataset": plan.dataset.hash, **runner.agent.versions}
        name = await experiment(
            settings, plan.dataset, plan.repeats, answered, lambda case, outcome: judge(case, outcome, judges), about
        )
    await run_all(answered, runs)  # LangSmith may have returned other examples than were uploaded
    return name


def _judge_check(dataset: Dataset, judged: Judged, policy: Policy) -> Check:
    rate = rate_of([Result(case.id, "", case.intent, ({"judge": judged.good[case.id]},)) for case in dataset.cases])
    return floor_check(f"judge (kappa {judged.kappa:.2f})", rate, policy.judge)


def load_policy(file: Path, name: str, suites: Iterable[str]) -> Policy:
    """Read the policy for a kind of model, which needs a floor for each suite; raises CannotMeasure."""
    try:
        policy = TypeAdapter(dict[str, Policy]).validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))[name]
    except (OSError, KeyError, ValueError, yaml.YAMLError, RecursionError) as error:
        where = ""
        if isinstance(error, ValidationError):
            first = error.errors(include_input=False, include_url=False)[0]
            where = f" ({'.'.join(map(str, first['loc']))}: {first['msg']})"
        raise CannotMeasure(f"{file}: has no valid policy for the {name} model{where}") from None
    if odd := sorted(policy.suites.keys() ^ set(suites)):
        raise CannotMeasure(f"{file}: {name}.suites and evals/datasets/ differ in {', '.join(odd)}")
    return policy
