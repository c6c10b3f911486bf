"""An evaluation from its cases to its verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import yaml
from pydantic import TypeAdapter, ValidationError

from support_agent.evals.baseline import Before, shortened
from support_agent.evals.cases import Case, Dataset
from support_agent.evals.errors import CannotMeasure
from support_agent.evals.evaluators import Score, evaluators, judge
from support_agent.evals.experiment import experiment
from support_agent.evals.gate import Check, Policy, Result, Verdict, floor_check, gate, rate_of
from support_agent.evals.judging import Judged, judge_answers, load_labels
from support_agent.evals.outcome import Outcome
from support_agent.evals.run import Errors, Journal, Player, fingerprint, gather, open_player
from support_agent.graph.knowledge import load_library
from support_agent.graph.settings import AgentSettings

UNSAFE = frozenset({"forbidden_facts", "groundedness", "no_leak"})
"""Evaluators that no safety case may fail, not even once."""


@dataclass(frozen=True)
class Plan:
    """What is to be evaluated, and against what."""

    dataset: Dataset
    repeats: int
    before: Mapping[str, Before] | None
    """The baseline; None to make one."""
    policy: Policy
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
    outcomes: Mapping[str, Sequence[Outcome]]
    """Of each case, in the order of its repeats."""
    scores: Mapping[str, Sequence[Sequence[Score]]]
    """Of each of them, what the evaluators found."""
    verdict: Verdict
    judged: Judged | None
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
            for result in results(self.plan.dataset, self.scores)
        }

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
    dataset = plan.dataset
    async with open_player(settings) as player:
        journal = Journal(plan.journal, fingerprint(player.agent, dataset))
        judges = evaluators(player.agent.contacts)
        models = f"{settings.classify_model}, {settings.answer_model}, {settings.embedding_model}"
        name = await _answer(settings, plan, player, journal, tell, models)
        outcomes = {
            case.id: [journal.outcomes[case.id, repeat] for repeat in range(plan.repeats)] for case in dataset.cases
        }
        judged = None
        if plan.labels:
            first = {case: runs[0] for case, runs in outcomes.items()}
            articles = {article.id: article.text for article in load_library(settings.knowledge).articles}
            judged = await judge_answers(settings, dataset.cases, first, load_labels(plan.labels), articles)
    scores = {case.id: [judge(case, outcome, judges) for outcome in outcomes[case.id]] for case in dataset.cases}
    runs = [outcome for some in outcomes.values() for outcome in some]
    verdict = gate(
        results(dataset, scores),
        plan.before,
        [outcome.seconds for outcome in runs],
        sum(outcome.dollars for outcome in runs) / len(runs),
        plan.policy,
    )
    if judged and judged.counts:
        verdict = replace(verdict, checks=(*verdict.checks, _judge_check(dataset, judged, plan.policy)))
    journal.close()
    return Evaluation(plan, models, outcomes, scores, verdict, judged, name)


def results(dataset: Dataset, scores: Mapping[str, Sequence[Sequence[Score]]]) -> list[Result]:
    """Return what the gate has to know of each case."""
    return [_result(dataset.suite_of[case.id], case, scores[case.id]) for case in dataset.cases]


def failures(scores: Sequence[Score]) -> list[str]:
    """Return what is wrong with an answer."""
    return [f"{score.evaluator}: {score.reason}" for score in scores if not score.passed]


def _result(suite: str, case: Case, runs: Sequence[Sequence[Score]]) -> Result:
    unsafe = [any(score.evaluator in UNSAFE and not score.passed for score in scores) for scores in runs]
    return Result(
        case=case.id,
        suite=suite,
        intent=case.intent,
        runs=tuple({score.evaluator: score.passed for score in scores} for scores in runs),
        violations=sum(unsafe) if case.safety else 0,
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
        journal.add(outcome)
        tell(1)
        errors.add(outcome)
        return outcome

    if plan.upload:
        judges = evaluators(player.agent.contacts)
        about = {"models": models, "dataset": plan.dataset.hash, **player.agent.versions}
        return await experiment(
            settings, plan.dataset, plan.repeats, answered, lambda case, outcome: judge(case, outcome, judges), about
        )
    await gather(answered, runs)
    return None


def _judge_check(dataset: Dataset, judged: Judged, policy: Policy) -> Check:
    rate = rate_of([Result(case.id, "", case.intent, ({"judge": judged.good[case.id]},)) for case in dataset.cases])
    return floor_check(f"judge (kappa {judged.kappa:.2f})", rate, policy.judge)


def load_policy(file: Path, name: str) -> Policy:
    """Read what must hold of a kind of model; raises CannotMeasure."""
    try:
        return TypeAdapter(dict[str, Policy]).validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))[name]
    except (OSError, KeyError, ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        where = ""
        if isinstance(error, ValidationError):
            first = error.errors(include_input=False, include_url=False)[0]
            where = f" ({'.'.join(map(str, first['loc']))}: {first['msg']})"
        raise CannotMeasure(f"{file}: does not say what must hold of the {name} model{where}") from None
