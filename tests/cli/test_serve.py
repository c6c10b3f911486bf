"""The commands as a user runs them: in their own process, on real input, with nothing configured."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from conftest import REPOSITORY
from harness.commands import COMMAND, run
from local.process import free_port


@contextmanager
def command(tmp_path: Path, *arguments: str, **environment: str) -> Generator[subprocess.Popen[bytes]]:
    """Run the command in the repository; its output goes to a file beside `tmp_path`."""
    with (tmp_path / "output").open("wb") as output:
        process = subprocess.Popen(
            [COMMAND, *arguments],
            cwd=REPOSITORY,
            env={**os.environ, "TMPDIR": str(tmp_path), **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def wait_until_healthy(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the service did not start")


def wait_until_gone(processes: list[psutil.Process]) -> list[psutil.Process]:
    _, alive = psutil.wait_procs(processes, timeout=10)
    return alive


@pytest.mark.parametrize("root_path", ["support", "//evil.example", "/a b", "https://shop.example/support"])
def test_a_path_prefix_that_is_none_is_refused(tmp_path: Path, root_path: str) -> None:
    """One line names the option and what is valid, before anything is started."""
    with command(tmp_path, "serve", "--port", str(free_port()), "--root-path", root_path) as process:
        assert process.wait(30) == 1
    [line] = (tmp_path / "output").read_text().splitlines()
    assert "--root-path: must be a path" in line
    assert "such as /support" in line


@pytest.mark.parametrize(
    ("ending", "code"),
    [(signal.SIGTERM, 0), (signal.SIGHUP, 0), (signal.SIGINT, 0), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_serve_answers_with_nothing_configured_and_leaves_nothing_behind(
    tmp_path: Path, ending: signal.Signals, code: int
) -> None:
    """One command answers a question, and however it ends, its Redis, model and files are gone."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with command(tmp_path, "serve", "--port", str(port)) as process:
        wait_until_healthy(process, url)
        question = "I was charged twice, can I have my money back?"
        answer = httpx.post(f"{url}/ask", json={"question": question}, timeout=30).json()
        assert answer["category"] == "billing"
        assert "30 days" in answer["answer"]
        assert "duplicate-charge" in [source["id"] for source in answer["sources"]]
        children = psutil.Process(process.pid).children(recursive=True)
        assert any("valkey-server" in child.name() for child in children)
        process.send_signal(ending)
        assert process.wait(15) == code
        assert wait_until_gone(children) == []
    output = (tmp_path / "output").read_text()
    assert f"on {url}" in output
    assert re.search(r"model\s+embedded\s+offline model", output)
    assert re.search(r"Redis\s+embedded", output)
    assert re.search(r"articles\s+embedded\s+in memory, from knowledge", output)
    assert question not in output
    assert "Traceback" not in output
    time.sleep(0.2)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("support-agent")] == []


def test_a_strict_start_refuses_articles_with_faults(tmp_path: Path, articles: Path) -> None:
    """The reason is in the log, and nothing is served."""
    (articles / "bad.md").write_text("---\ntitle: [a\n---\n\nText.\n")
    variables = {"SUPPORT_KNOWLEDGE": str(articles), "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}
    with command(tmp_path, "serve", "--strict", "--port", str(free_port()), **variables) as process:
        assert process.wait(60) != 0
    output = (tmp_path / "output").read_text()
    assert "1 with faults, where none may be (SUPPORT_STRICT)" in output
    assert "bad.md:" in output
    assert "Traceback" not in output


def test_ask_streams_an_answer_with_its_category_and_sources() -> None:
    """`support-agent ask` answers from the articles, whatever proxy variables or `serve` settings are set."""
    surroundings = {
        "http_proxy": "http://127.0.0.1:1",
        "OPENAI_PROXY": "http://127.0.0.1:1",
        "SUPPORT_MAX_BODY": "9999",
    }
    result = run("ask", "I was charged twice, can I have my money back?", **surroundings)
    assert result.returncode == 0, result.stderr
    assert "30 days" in result.stdout
    assert "category  billing" in result.stdout
    assert "duplicate-charge" in result.stdout


def test_a_full_disk_is_one_line() -> None:
    """An output that cannot be written gives no traceback."""
    with Path("/dev/full").open("w") as full:
        result = subprocess.run(
            [COMMAND, "ask", "When are you open?"],
            cwd=REPOSITORY,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr.startswith("support-agent: No space left on device")


@pytest.mark.parametrize(
    ("arguments", "environment", "line"),
    [
        (["ask", " "], {}, "question: .*at least 1 character"),
        (["ask", "x" * 4001], {}, "question: .*at most 4000 characters"),
        (["serve"], {"SUPPORT_ENV": "production"}, "missing .* OPENAI_API_KEY or OPENAI_BASE_URL, REDIS_URL"),
        (["ask", "Why?"], {"SUPPORT_ENV": "production"}, "missing .* OPENAI_API_KEY or OPENAI_BASE_URL"),
        (["serve"], {"SUPPORT_TYPO": "1"}, "SUPPORT_TYPO: unknown setting"),
        (["serve"], {"SUPPORT_KNOWLEDGE": "nowhere"}, "SUPPORT_KNOWLEDGE: there is no file or folder"),
        (["ask", "Why?"], {"SUPPORT_KNOWLEDGE": "nowhere"}, "SUPPORT_KNOWLEDGE: there is no file or folder"),
        (
            ["ask", "Why?"],
            {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"},
            "the articles can't be indexed: the embedding model .* gave no vectors .*; check OPENAI_BASE_URL",
        ),
    ],
    ids=["blank", "long", "production", "production ask", "typo", "serve folder", "ask folder", "model"],
)
def test_what_stops_a_command_is_one_line(arguments: list[str], environment: dict[str, str], line: str) -> None:
    """Every error at the start is one line without a traceback."""
    if arguments == ["serve"]:
        arguments = ["serve", "--port", str(free_port())]
    result = run(*arguments, **environment)
    assert result.returncode != 0
    assert re.search(line, result.stderr)
    assert "Traceback" not in result.stderr
    if arguments[0] == "ask":
        assert len(result.stderr.strip().splitlines()) == 1


def test_serve_names_a_port_that_is_taken() -> None:
    """A port in use stops the command before it starts anything."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("serve", "--port", str(taken.getsockname()[1]))
    assert result.returncode == 1
    assert "can't listen on 127.0.0.1" in result.stderr
    assert "choose another --port" in result.stderr


def test_serve_names_an_address_that_is_not_ours() -> None:
    """The error for a foreign address names --host."""
    result = run("serve", "--host", "192.0.2.1")
    assert (result.returncode, "choose another --host" in result.stderr) == (1, True)
