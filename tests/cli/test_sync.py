"""`support-agent knowledge sync`."""

import asyncio
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from harness.commands import COMMAND
from harness.scripted_model import ScriptedModel

pytestmark = pytest.mark.soak  # a process for each sync


async def sync(
    model: ScriptedModel, articles: Path, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run the command in its own process, while this one serves the model."""
    given = {"OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "sk-canary", "SUPPORT_KNOWLEDGE": str(articles)}
    command = [COMMAND, "knowledge", "sync", *arguments]
    environment = os.environ | given | variables
    return await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


async def test_a_sync_reports_what_it_has_done(model: ScriptedModel, articles: Path, database_url: str) -> None:
    """For people, and for programs; what is left out is named, and nothing of it is secret."""
    (articles / "bad.md").write_bytes(b"---\ntitle: Bad\n---\n\nCaf\xe9\n")
    done = await sync(model, articles, DATABASE_URL=database_url)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == f"read        6 articles from {articles}"
    assert f"fault       {articles}/bad.md:5: not valid UTF-8" in done.stdout
    assert "added       careers" in lines
    assert "embedded    6 of 6 passages" in lines
    assert "set         1; replicas serve it within 10 seconds" in lines
    (articles / "bad.md").unlink()
    (articles / "clear-cache.md").unlink()
    (articles / "careers.md").write_text("---\nid: careers\ntitle: Careers\ncategory: general\n---\n\nNobody.\n")
    again = await sync(model, articles, "--json", DATABASE_URL=database_url)
    said: dict[str, Any] = json.loads(again.stdout)
    assert {
        name: said[name] for name in ("set", "articles", "passages", "embedded", "added", "changed", "removed")
    } == {
        "set": 2,
        "articles": 5,
        "passages": 5,
        "embedded": 1,
        "added": [],
        "changed": ["careers"],
        "removed": ["clear-cache"],
    }
    assert said["seconds"].keys() >= {"wait", "read", "compare", "cut", "embed", "finish"}
    everything = done.stdout + done.stderr + again.stdout + again.stderr
    assert "sk-canary" not in everything
    assert database_url.split(":")[2].split("@")[0] not in everything


async def test_a_bad_set_is_refused(model: ScriptedModel, articles: Path, database_url: str) -> None:
    """With one line that says why, and exit status 1; not with --force. The sources may be named."""
    assert (await sync(model, articles, DATABASE_URL=database_url)).returncode == 0
    few = articles.parent / "few"
    few.mkdir()
    (articles / "careers.md").rename(few / "careers.md")
    refused = await sync(model, articles, str(few), DATABASE_URL=database_url)
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1] == (
        "support-agent: 5 of 6 articles are gone, which is more than half; nothing is changed"
        "; --force writes it all the same"
    )
    forced = await sync(model, articles, str(few), "--force", DATABASE_URL=database_url)
    assert forced.returncode == 0, forced.stderr
    assert "removed     clear-cache" in forced.stdout


async def test_without_postgres_vectors_are_kept_on_disk(model: ScriptedModel, articles: Path, tmp_path: Path) -> None:
    """And it says so; where no folder keeps them, there is nothing to do."""
    cache = str(tmp_path / "vectors")
    first, second = [await sync(model, articles, SUPPORT_CACHE_DIR=cache) for _ in range(2)]
    assert "no set      DATABASE_URL is not set: the vectors are kept on disk" in first.stdout
    assert "embedded    6 of 6 passages" in first.stdout
    assert "embedded    0 of 6 passages" in second.stdout
    nowhere = await sync(model, articles, SUPPORT_CACHE_DIR="")
    assert nowhere.returncode == 1
    assert "DATABASE_URL is not set, and no folder keeps vectors" in nowhere.stderr


async def test_a_model_that_is_down_is_named(model: ScriptedModel, articles: Path, database_url: str) -> None:
    """The command ends with one line."""
    variables = {"DATABASE_URL": database_url, "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    done = await sync(model, articles, **variables)
    assert done.returncode == 1
    assert "the embedding model 'text-embedding-3-small' gave no vectors" in done.stderr.splitlines()[-1]
