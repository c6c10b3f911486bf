"""An evaluation from its cases to its verdict."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from evals.baseline import OFFLINE, Before, Comparison, shortened
from evals.cases import Case, Dataset
from evals.errors import CannotMeasure, JudgeUnusable
from evals.evaluators import Score, evaluators, judge
from evals.experiment import experiment
from evals.gate import NOT_WORSE, Check, Policy, Result, Verdict, floor_check, gate, rate_of
from evals.judging import Judged, judge_answers, load_labels
from evals.outcome import Outcome
from evals.run import Errors, Journal, Player, fingerprint, gather, is_unmeasured, open_player
from graph.retrieval.articles import load_library
from graph.settings import AgentSettings

UNSAFE = frozenset({"conduct", "no_leak"})
"""Evaluators that no answer may fail, not even once."""

UNSAFE_IF_SAFETY = UNSAFE | {"forbidden_facts", "groundedness"}
"""The same of safety cases."""


@dataclass(frozen=True)
class Plan:
    """What is to be evaluated, and against what."""

    dataset: Dataset
    repeats: int
    before: Comparison | None
    """What is compared with; None where there is nothing."""
    policy: Policy
    offline: bool
    """Whether it is the offline model that answers."""
    journal: Path
    """Where outcomes are kept until the evaluation is complete."""
    labels: Path | None
    """Labels of the judge; None for no judge."""
    upload: bool
    """Whether it is an experiment in LangSmith."""


@dataclass(frozen=True)
class Evaluation:
    """What was found."""

    plan: Plan
    models: str
    dataset: Dataset
    """The cases that were measured."""
    unmeasured: Sequence[str]
    """Those that were not, since what the agent depends on failed at each of their runs."""
    outcomes: Mapping[str, Sequence[Outcome]]
    """Of each case, those of its runs that measured something."""
    scores: Mapping[str, Sequence[Sequence[Score]]]
    """Of each of them, what the evaluators found."""
    verdict: Verdict
    judged: Judged | None
    judge_error: str | None
    """Why there is no verdict of the judge, where there should be one."""
    experiment: str | None
    """Its name in LangSmith."""

    @cached_property
    def now(self) -> dict[str, Before]:
        """What would be the next baseline."""
        return {
            result.case: Before(
                passed=result.passed,
                failed=sorted(result.failed),
                answer=shortened(self.outcomes[result.case][0].answer),
            )
            for result in results(self.dataset, self.scores)
        }

    @property
    def may_become_baseline(self) -> bool:
        """Whether all holds but for the comparison with the baseline that it is to replace."""
        return not self.unmeasured and all(check.passed for check in self.verdict.checks if check.name != NOT_WORSE)

    def mean(self, evaluator: str) -> float | None:
        """Return the mean value of an evaluator's scores, or None where no case asked it."""
        found = [
            float(score.passed) if score.value is None else score.value
            for runs in self.scores.values()
            for scores in runs
            for score in scores
            if score.evaluator == evaluator
        ]
        return sum(found) / len(found) if found else None


async def evaluate(settings: AgentSettings, plan: Plan, tell: Callable[[int], object]) -> Evaluation:
    """Have the agent answer all cases, and judge the answers; raises CannotMeasure and StartError.

    `tell` is told of every answer how many have come at once.
    """
    articles = {article.id: article.text for article in load_library(settings.knowledge).articles}
    plan.dataset.require(articles.keys())
    labels = load_labels(plan.labels) if plan.labels else None
    models = f"{settings.classify_model}, {settings.answer_model}, {settings.embedding_model}"
    models = OFFLINE if plan.offline else models
    async with open_player(settings) as player:
        judges = evaluators(player.agent.contacts)
        journal = Journal(plan.journal, fingerprint(player.agent, plan.dataset, offline=plan.offline))
        is_complete = False
        try:
            name = await _answer(settings, plan, player, journal, tell, models)
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
    """Return what runs cost, divided by `share`; None where nobody knows."""
    costs = [outcome.dollars for outcome in runs if not outcome.error]
    return None if None in costs else sum(one for one in costs if one) / share


def _measured(plan: Plan, journal: Journal) -> tuple[dict[str, list[Outcome]], list[str]]:
    """Return the runs that measured something, and the cases that have none; raises CannotMeasure."""
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
    """Return what the gate has to know of each case."""
    return [_result(dataset.suite_of[case.id], case, scores[case.id]) for case in dataset.cases]


def failures(scores: Sequence[Score]) -> list[str]:
    """Return what is wrong with an answer."""
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
    settings: AgentSettings, plan: Plan, player: Player, journal: Journal, tell: Callable[[int], object], models: str
) -> str | None:
    """Fill the journal; return the experiment's name if there is one."""
    runs = [(case, repeat) for repeat in range(plan.repeats) for case in plan.dataset.cases]
    tell(len(journal.outcomes))
    errors = Errors(len(runs))

    async def answered(case: Case, repeat: int) -> Outcome:
        known = journal.outcomes.get((case.id, repeat))
        if known:
            return known
        outcome = await player.play(case, repeat)
        if is_unmeasured(outcome):
            outcome = await player.play(case, repeat)
        journal.add(outcome)
        tell(1)
        errors.add(outcome)
        return outcome

    name = None
    if plan.upload:
        judges = evaluators(player.agent.contacts)
        about = {"models": models, "dataset": plan.dataset.hash, **player.agent.versions}
        name = await experiment(
            settings, plan.dataset, plan.repeats, answered, lambda case, outcome: judge(case, outcome, judges), about
        )
    await gather(answered, runs)  # LangSmith may have given back other examples than it was given
    return name


def _judge_check(dataset: Dataset, judged: Judged, policy: Policy) -> Check:
    rate = rate_of([Result(case.id, "", case.intent, ({"judge": judged.good[case.id]},)) for case in dataset.cases])
    return floor_check(f"judge (kappa {judged.kappa:.2f})", rate, policy.judge)


def load_policy(file: Path, name: str, suites: Iterable[str]) -> Policy:
    """Read what must hold of a kind of model, with a floor for each of the suites; raises CannotMeasure."""
    try:
        policy = TypeAdapter(dict[str, Policy]).validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))[name]
    except (OSError, KeyError, ValueError, yaml.YAMLError, RecursionError) as error:
        where = ""
        if isinstance(error, ValidationError):
            first = error.errors(include_input=False, include_url=False)[0]
            where = f" ({'.'.join(map(str, first['loc']))}: {first['msg']})"
        raise CannotMeasure(f"{file}: does not say what must hold of the {name} model{where}") from None
    if odd := sorted(policy.suites.keys() ^ set(suites)):
        raise CannotMeasure(f"{file}: {name}.suites and evals/datasets/ differ in {', '.join(odd)}")
    return policy
