"""`support-agent knowledge`."""

import asyncio
import json
import logging
import os
import pty
import re
import select
import struct
import subprocess
from collections.abc import Callable, Generator
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest
import test_serve
import typer.testing

from cli.main import app
from conftest import REPOSITORY
from harness import commands
from harness.commands import COMMAND
from harness.scripted_model import ScriptedModel

Run = Callable[..., typer.testing.Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Generator[Run]:
    """Run the command in this process, which saves the seconds of a start."""

    def run(*arguments: str, **variables: str) -> typer.testing.Result:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return typer.testing.CliRunner().invoke(app, ["knowledge", *arguments])

    yield run
    logging.disable(logging.NOTSET)


ABOUT = "name: Acme\ndesks: {general: {about: jobs}, billing: {about: refunds of payments}}\n"
BAD = "---\ntitle: Bad\n---\n\nCafé\n".encode("latin-1")


def test_check_says_what_is_read(run: Run, articles: Path) -> None:
    """Articles, desks and languages; it needs no model where rules name every desk, and exits with 0."""
    done = run("check", str(articles))
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == f"read        6 articles from {articles}"
    assert "desk        billing: 2 articles (2 by rules); billing@company.example" in lines
    assert sum(line.startswith("languages   ") for line in lines) == 1
    assert any(re.fullmatch(r"longest     1\d words: Refunds \(refund-policy\)", line) for line in lines)
    assert not any(line.startswith(("fault", "same", "dead")) for line in lines)


@pytest.mark.parametrize("command", ["check", "sync"])
def test_a_wrong_argument_is_not_blamed_on_the_settings(command: str, tmp_path: Path) -> None:
    """The message names what was given, and no variable that was not."""
    given = {"OPENAI_BASE_URL": "http://127.0.0.1:1", "OPENAI_API_KEY": "k", "SUPPORT_CACHE_DIR": str(tmp_path)}
    done = commands.run("knowledge", command, str(tmp_path / "nowhere"), **given)
    assert done.returncode == 1
    assert done.stderr.startswith(f"support-agent: there is no file or folder '{tmp_path / 'nowhere'}'"), done.stderr


def test_check_exits_with_1_where_something_is_at_fault(run: Run, articles: Path) -> None:
    """Each fault is named with its file and line; what is well is told all the same."""
    (articles / "bad.md").write_bytes(BAD)
    (articles / "draft.md").write_text("---\ntitle: Soon\ndraft: true\n---\n\nText.\n")
    (articles / "twin.md").write_text("---\nid: twin\ntitle: Careers\ncategory: general\n---\n\n[a](gone.md)\n")
    done = run("check", SUPPORT_KNOWLEDGE=str(articles))
    assert done.exit_code == 1
    assert f"fault       {articles}/bad.md:5: not valid UTF-8" in done.stdout
    assert "left out    1: " in done.stdout
    assert "read        7 articles" in done.stdout
    assert "same title  Careers: careers, twin" in done.stdout
    assert "dead link   gone.md in twin" in done.stdout


def test_check_prints_json_for_programs(run: Run, articles: Path) -> None:
    """All of it, each article with its desk and how that was decided."""
    (articles / "bad.md").write_bytes(BAD)
    done = run("check", "--json", str(articles))
    found = json.loads(done.stdout)
    assert done.exit_code == 1
    assert found["company"] == "Acme & Sons"
    assert found["desks"][0] == {"name": "general", "contact": "help@company.example", "articles": 2}
    assert [(one["where"], one["is_fault"]) for one in found["left_out"]] == [(f"{articles}/bad.md:5", True)]
    careers = next(article for article in found["articles"] if article["id"] == "careers")
    assert (careers["desk"], careers["decided_by"], careers["words"]) == ("general", "rules", 8)


def test_check_says_what_is_decided_once_there_is_a_model(run: Run, articles: Path) -> None:
    """What no rule names has no desk yet, which is no fault."""
    (articles / "company.yaml").write_text(ABOUT)
    done = run("check", str(articles), SUPPORT_ENV="production")
    assert done.exit_code == 0, done.output
    assert "desk        6 articles by meaning, once there is a model" in done.stdout
    assert "no contact, so customers are told of none" in done.stdout


async def test_check_decides_by_meaning(articles: Path, model: ScriptedModel) -> None:
    """What no rule names is asked of the embedding model, in one request here."""
    (articles / "company.yaml").write_text(ABOUT)
    variables = {"OPENAI_BASE_URL": model.url, "OPENAI_API_KEY": "sk-test"}
    done = await asyncio.to_thread(test_serve.run, "knowledge", "check", str(articles), **variables)
    assert done.returncode == 0, done.stderr
    found = {line.split()[1]: line for line in done.stdout.splitlines() if line.startswith("desk ")}
    assert "by meaning" in found["billing:"]
    assert len(model.of("embeddings")) == 1


def test_check_names_all_faults_of_the_company(run: Run, articles: Path) -> None:
    """company.yaml comes first: without it no desk is known."""
    (articles / "company.yaml").write_text("name: Acme\ncontacts: {billing: x}\nlang: en\n")
    done = run("check", str(articles))
    assert done.exit_code == 1
    assert "company.yaml:2: contacts: give each desk its own" in str(done.exception)
    assert "company.yaml:3: lang: is unknown (did you mean language?)" in str(done.exception)


@pytest.mark.parametrize("width", [38, 160])
def test_check_fits_the_terminal(articles: Path, width: int) -> None:
    """Long lines go on below where they began; no word is lost, and no control character is sent."""
    title = f"Long \\x1b[31m {'title ' * 20}"
    (articles / "long.md").write_text(f'---\nid: long\ntitle: "{title}"\ncategory: general\n---\n\n{"w " * 99}\n')
    mine, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    command = [COMMAND, "knowledge", "check", str(articles)]
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment["TERM"] = "xterm"
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        said = b""
        while select.select([mine], [], [], 20)[0]:
            try:
                said += os.read(mine, 65536)
            except OSError:
                break
    os.close(mine)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said.decode())
    assert process.returncode == 0, plain
    lines = plain.splitlines()
    assert max(map(len, lines)) <= width
    assert "\x1b" not in plain
    assert plain.count("title") == 20
    assert lines[0].startswith("read ")
    assert (len(lines) > 25) == (width == 38)


def test_init_writes_a_company_to_be_corrected(run: Run, articles: Path) -> None:
    """Its desks are what the articles say; it replaces none without --force, and check reads it."""
    done = run("init", str(articles))
    assert done.exit_code == 1
    assert "company.yaml: is there already; --force replaces it" in str(done.exception)
    (articles / "company.yaml").unlink()
    done = run("init", str(articles))
    assert done.exit_code == 0, done.output
    assert f"{articles}/company.yaml has 3 desks: general, technical, billing" in done.stdout
    done = run("check", str(articles))
    assert done.exit_code == 0
    assert "desk        technical: 2 articles (2 by rules); no contact" in done.stdout
    assert run("init", "--force", str(articles)).exit_code == 0


def test_init_writes_beside_an_export(run: Run, tmp_path: Path) -> None:
    """A file can't hold the company.yaml, and nothing looks for it beside it."""
    export = tmp_path / "articles.json"
    export.write_text(json.dumps([{"id": 1, "title": "Refunds", "body": "Within 30 days."}]))
    done = run("init", str(export))
    assert done.exit_code == 0, done.output
    assert f"SUPPORT_COMPANY={tmp_path / 'company.yaml'}" in done.stdout


def test_init_says_where_there_is_nothing_to_read(run: Run, tmp_path: Path) -> None:
    """An empty folder gets no company.yaml."""
    done = run("init", str(tmp_path))
    assert done.exit_code == 1
    assert "can't read any article" in str(done.exception)
    assert list(tmp_path.glob("*.yaml")) == []
