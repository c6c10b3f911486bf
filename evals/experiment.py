"""Runs the evaluation as an experiment in LangSmith: uploads the dataset, and one row per run with all scores."""

import asyncio
import logging
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from langsmith import Client
from langsmith.utils import LangSmithError

from evals.cases import Case, Dataset
from evals.errors import CannotMeasure
from evals.evaluators import Score
from evals.outcome import Outcome
from evals.run import AT_ONCE
from graph.observe.langsmith import langsmith_client, langsmith_trouble
from graph.settings import AgentSettings

_TIMEOUT = (5_000, 10_000)  # milliseconds: connect and read time-outs
_FLUSH = 60  # seconds to send the remaining rows
_LIMITS = {  # those of LangSmith's client where a server tells none
    "scale_up_qsize_trigger": 1000,
    "scale_up_nthreads_limit": 16,
    "scale_down_nempty_trigger": 4,
    "size_limit": 100,
    "size_limit_bytes": 20_971_520,
}
_NAMES = uuid.UUID("5b0f8a52-7b5e-4f0e-9c37-2f8f0d6f1c11")  # namespace of the examples' ids


async def experiment(
    settings: AgentSettings,
    dataset: Dataset,
    repeats: int,
    answer: Callable[[Case, int], Coroutine[Any, Any, Outcome]],
    judge: Callable[[Case, Outcome], Sequence[Score]],
    about: dict[str, str],
) -> str:
    """Have LangSmith's client call `answer` for every case, and return the experiment's name; raises CannotMeasure.

    `about` becomes the experiment's metadata. An exception in `answer` ends the experiment and is raised.
    """
    loop = asyncio.get_running_loop()
    cases = {case.id: case for case in dataset.cases}
    begun = Counter[str]()
    outcomes: dict[str, Outcome] = {}
    failures: list[BaseException] = []
    lost: list[Exception] = []
    lock = threading.Lock()

    def target(inputs: dict[str, Any]) -> dict[str, Any]:
        with lock:
            if failures:
                return {}
            case = cases[inputs["case"]]
            repeat = begun[case.id]
            begun[case.id] += 1
        try:
            outcome = asyncio.run_coroutine_threadsafe(answer(case, repeat), loop).result()
        except BaseException as error:  # noqa: BLE001 - LangSmith's client would continue with the next case
            failures.append(error)
            return {}
        outputs = outcome.model_dump(mode="json")
        with lock:
            outcomes[_key(outputs)] = outcome
        return outputs

    def scores(outputs: dict[str, Any], inputs: dict[str, Any]) -> dict[str, Any]:
        outcome = outcomes.get(_key(outputs))
        if outcome is None:
            return {"results": []}
        found = judge(cases[inputs["case"]], outcome)
        results = [{"key": one.evaluator, "score": _number(one), "comment": one.reason or None} for one in found]
        passed = all(one.passed for one in found)
        return {"results": [*results, {"key": "passed", "score": int(passed)}]}

    def evaluate() -> str:
        logging.getLogger("langsmith").setLevel(logging.CRITICAL)  # errors that matter are raised
        # Asked first, because the calls below retry for a long time.
        info = _info(settings)
        client = langsmith_client(settings, timeout_ms=_TIMEOUT, tracing_error_callback=lost.append, info=info)
        try:
            name = f"support-agent {dataset.hash}"
            _upload(client, name, dataset)
            results = client.evaluate(
                target,
                data=name,
                evaluators=[scores],
                experiment_prefix="support-agent",
                metadata=about,
                max_concurrency=AT_ONCE,
                num_repetitions=repeats,
                disable_evaluator_tracing=True,
            )
            for _ in results:
                pass  # errors that ended the experiment early are raised only here
            client.flush(_FLUSH)
            _raise_first(lost)  # rows that LangSmith did not accept
            if client.tracing_queue and (unsent := client.tracing_queue.unfinished_tasks):
                raise CannotMeasure(f"LangSmith did not get {unsent} parts of the experiment within {_FLUSH} s")
            return results.experiment_name
        finally:
            client.close(timeout=0)

    try:
        name = await asyncio.to_thread(evaluate)
    except (LangSmithError, ValueError, OSError) as error:
        raise CannotMeasure(
            f"LangSmith did not accept the experiment: it {'; '.join(langsmith_trouble(error))}"
        ) from error
    _raise_first(failures)
    return name


def _info(settings: AgentSettings) -> dict[str, Any]:
    """Return what LangSmith says of itself; raises LangSmithError, and ValueError.

    The client's thread ends, and loses all runs without a word, where a limit is missing. Without compression every run
    goes through the queue, so that one which is not sent shows there.
    """
    client = langsmith_client(settings, timeout_ms=_TIMEOUT, auto_batch_tracing=False)
    told: dict[str, Any] = client.request_with_retries("GET", "/info", stop_after_attempt=1).json()
    limits: dict[str, Any] = told.get("batch_ingest_config") or {}
    flags: dict[str, Any] = told.get("instance_flags") or {}
    return told | {
        "batch_ingest_config": _LIMITS | {name: value for name, value in limits.items() if value is not None},
        "instance_flags": flags | {"zstd_compression_enabled": False},
    }


def _raise_first(errors: Sequence[BaseException]) -> None:
    for error in errors:
        raise error


def _upload(client: Client, name: str, dataset: Dataset) -> None:
    """Create the dataset, named after its hash, or add the examples that an interrupted upload left out."""
    if client.has_dataset(dataset_name=name):
        found = client.read_dataset(dataset_name=name)
        known = {str(example.id) for example in client.list_examples(dataset_id=found.id)}
    else:
        found = client.create_dataset(
            name, description="Evaluation cases of support-agent; the name contains the hash of their content."
        )
        known: set[str] = set()
    examples = [_example(dataset, case, str(found.id)) for case in dataset.cases]
    if lacking := [example for example in examples if example["id"] not in known]:
        client.create_examples(dataset_id=found.id, examples=lacking)


def _example(dataset: Dataset, case: Case, dataset_id: str) -> dict[str, Any]:
    expected = case.model_dump(mode="json", exclude={"id", "intent", "split", "history", "question"})
    return {
        "id": str(uuid.uuid5(_NAMES, f"{dataset_id} {case.id}")),
        "inputs": {"case": case.id, "history": case.history, "question": case.question},
        "outputs": expected,
        "metadata": {"suite": dataset.suite_of[case.id], "intent": case.intent},
        "split": case.split,
    }


def _number(score: Score) -> float:
    return float(score.passed) if score.value is None else score.value


def _key(outputs: dict[str, Any]) -> str:
    return f"{outputs.get('case')} {outputs.get('repeat')}"
