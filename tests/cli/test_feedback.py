"""Exporting badly rated runs as cases."""

import asyncio
from pathlib import Path

import httpx
import pytest
import yaml
from redis.asyncio import Redis

from conftest import Serve
from evals.cases import load_dataset
from evals.errors import CannotMeasure
from harness.commands import run
from harness.scripted_model import ScriptedModel, tokens


async def test_badly_rated_runs_become_cases(
    serve: Serve, redis: Redis, redis_url: str, model: ScriptedModel, tmp_path: Path
) -> None:
    """A case has everything to judge it by, and no personal data of the customer."""
    model.script("answer", tokens(["In 30 days."]))
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        answer = (await client.post("/ask", json={"question": "Is ada@mail.example charged twice?"})).json()
        other = (await client.post("/ask", json={"question": "Another?"})).json()
        for run_id, score in ((answer["run_id"], 0.2), (other["run_id"], 0.9)):
            await client.post("/feedback", json={"run_id": run_id, "score": score, "comment": "No: 14.\n- id: x"})
        exported = await asyncio.to_thread(run, "feedback", "export", REDIS_URL=redis_url)
        file = tmp_path / "cases.yaml"
        many = await asyncio.to_thread(
            run, "feedback", "export", "--below", "1", "--output", str(file), REDIS_URL=redis_url
        )
    (case,) = yaml.safe_load(exported.stdout)
    name = f"feedback-{answer['run_id']}"
    assert case == {
        "id": name,
        "intent": name,
        "split": "tune",
        "question": "Is [email] charged twice?",
        "category": "billing",
    }
    found = ", ".join(source["id"] for source in answer["sources"])
    comments = [line for line in exported.stdout.splitlines() if line.startswith("# ")]
    assert comments == ["# score: 0.2", "# comment: No: 14. - id: x", "# answered: In 30 days.", f"# found: {found}"]
    assert "2 cases in" in many.stdout
    assert len(yaml.safe_load(file.read_text())) == 2
    with pytest.raises(CannotMeasure, match="has no expectations"):
        load_dataset(tmp_path)
    file.write_text(file.read_text().replace("  split: tune", "  split: tune\n  must: [second]"))
    assert len(load_dataset(tmp_path).cases) == 2
    lost = await asyncio.to_thread(run, "feedback", "export", REDIS_URL="redis://127.0.0.1:1/0")
    assert (lost.returncode, "Traceback" in lost.stderr) == (1, False)
    assert lost.stderr.endswith("REDIS_URL: Redis can't be reached; start Redis, or correct REDIS_URL\n")
    assert "REDIS_URL" in (await asyncio.to_thread(run, "feedback", "export")).stderr
