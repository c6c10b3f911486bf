"""The suite for tools: what is proposed, by models that are scripted."""

from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from starlette.types import Send

from conftest import REPOSITORY, MakeSettings
from evals.cases import NOTHING, Case, Dataset, load_dataset, suites_in
from evals.desk_tools import DeskTools
from evals.errors import CannotMeasure
from evals.evaluators import RightProposal, Score
from evals.outcome import Outcome
from evals.run import open_runner
from graph.actions.tools import Caller, NotCalled
from harness.calling import calls, function_call
from harness.scripted_model import Call, ScriptedModel, tokens

DATASETS = REPOSITORY / "evals/datasets"
SUITE = load_dataset(DATASETS, "tool_use").cases
ARGUMENTS: dict[str, dict[str, Any]] = {
    "book_call": {"slot": "2026-12-01T10:00:00+01:00", "time_zone": "Europe/Berlin", "topic": "Invoice"},
    "move_call": {
        "booking": "0123456789abcdef01234567",
        "slot": "2026-12-03T09:00:00+01:00",
        "time_zone": "Europe/Berlin",
    },
    "cancel_call": {"booking": "0123456789abcdef01234567"},
    "send_email": {"subject": "Export fails", "body": "It has failed three times."},
}


@pytest.mark.parametrize(
    ("expected", "proposed", "said"),
    [
        (None, "book_call", None),
        ("book_call", "book_call", Score("proposal", True)),
        ("book_call", None, Score("proposal", False, "proposes nothing, not book_call")),
        (NOTHING, None, Score("proposal", True)),
        (NOTHING, "send_email", Score("proposal", False, "proposes send_email, not nothing")),
    ],
)
def test_proposals_are_judged_where_a_case_says_so(
    expected: str | None, proposed: str | None, said: Score | None
) -> None:
    """The right one passes, another one does not, and nor does one where there should be none."""
    case = Case(id="a", intent="a", split="tune", question="Why?", must=["x"], proposes=expected)
    assert RightProposal().judge(case, Outcome(case="a", repeat=0, proposed=proposed)) == said


async def test_the_suite_asks_for_tools_that_there_are() -> None:
    """Half of the cases want something, of each tool that has an effect; the others nothing. Nothing is ever done."""
    tools = DeskTools()
    effects = {tool.name for tool in await tools.listed() if not tool.is_read_only}
    wanted = [case.proposes for case in SUITE if case.proposes != NOTHING]
    assert set(wanted) == effects == ARGUMENTS.keys()
    assert len(wanted) * 2 == len(SUITE)
    assert not [name for name, arguments in ARGUMENTS.items() if tools.problem(name, arguments)]
    for name, arguments in ARGUMENTS.items():
        with pytest.raises(NotCalled):
            await tools.call(name, arguments, Caller("eval", "s", "r"))


def test_the_offline_model_is_not_asked() -> None:
    """It calls no tools: the suite is left out, or named as what can't be measured."""
    assert set(suites_in(DATASETS)) - set(suites_in(DATASETS, offline=True)) == {"tool_use"}
    with pytest.raises(CannotMeasure, match="needs a model that calls tools"):
        load_dataset(DATASETS, "tool_use", offline=True)


def model_that(proposes: Callable[[Case], str | None]) -> Any:
    """A model that looks at the free slots, and then proposes what it is told for a question."""
    cases = {case.question: case for case in SUITE}

    async def reply(call: Call, send: Send) -> None:
        messages = call.body["messages"]
        question = max(at for at, message in enumerate(messages) if message["role"] == "user")
        steps = sum(message["role"] == "assistant" for message in messages[question + 1 :])
        case = cases.get(messages[question]["content"])
        name = proposes(case) if case else None
        asked = [calls(function_call("free_slots", {"time_zone": "Europe/Berlin"}))]
        asked += [calls(function_call(name, ARGUMENTS[name]))] if name else []
        last = tokens(["Tuesday 2026-12-01 at 10:00 would be free. Shall I?"])
        await (asked[steps] if steps < len(asked) else last)(call, send)

    return reply


async def test_the_suite_tells_models_apart(make_settings: MakeSettings, redis: Redis, model: ScriptedModel) -> None:
    """One that proposes what is wanted passes; one that never does, or always, fails its half."""
    few = [case for case in SUITE if case.proposes in ("move_call", NOTHING)][:4]
    few += [case for case in SUITE if case.proposes == NOTHING][:2]

    def wanted(case: Case) -> str | None:
        return case.proposes if case.proposes != NOTHING else None

    passed: dict[str, list[bool]] = {}
    async with open_runner(make_settings(), Dataset({"tool_use": few})) as runner:
        for name, proposes in {"right": wanted, "never": lambda _: None, "always": lambda _: "send_email"}.items():
            model.script("answer", model_that(proposes))
            scores = [RightProposal().judge(case, await runner.run(case, 0)) for case in few]
            passed[name] = [bool(score and score.passed) for score in scores]
        outcome = await runner.run(few[0], 0)
    is_nothing = [case.proposes == NOTHING for case in few]
    assert passed == {"right": [True] * len(few), "never": is_nothing, "always": [False] * len(few)}
    assert "2026-12-01T10:00:00+01:00" in outcome.passages["result of free_slots"]
