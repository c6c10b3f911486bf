"""The commands in the environments that shells, platforms and proxies make."""

import subprocess
from pathlib import Path

import httpx
import pytest
from test_serve import command, wait_until_healthy

from cli.embedded import load_settings
from conftest import REPOSITORY
from harness.commands import run
from local.process import free_port

ELSEWHERE = {
    "OPENAI_API_KEY": "sk-1",
    "OPENAI_BASE_URL": "http://127.0.0.1:1/v1",
    "SUPPORT_EMBEDDING_BASE_URL": "http://127.0.0.1:1/v1",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "DATABASE_URL": "postgresql://127.0.0.1:1/agent",
    "LANGSMITH_TRACING": "true",
    "LANGSMITH_API_KEY": "lsv2_1",
    "LANGSMITH_ENDPOINT": "http://127.0.0.1:1",
}
SOCKS = dict.fromkeys(("ALL_PROXY", "all_proxy", "HTTPS_PROXY", "http_proxy"), "socks5://127.0.0.1:1")


def test_serve_offline_listens_on_port_for_both_families(tmp_path: Path) -> None:
    """With PORT and `--host ::`, whatever servers and proxies are configured."""
    port = free_port()
    with command(tmp_path, "serve", "--host", "::", "--offline", PORT=f'"{port}"', **ELSEWHERE, **SOCKS) as process:
        wait_until_healthy(process, f"http://127.0.0.1:{port}")
        for host in ("127.0.0.1", "[::1]"):
            answer = httpx.post(f"http://{host}:{port}/ask", json={"question": "Was I charged twice?"}, timeout=30)
            assert answer.json()["category"] == "billing"


def test_ask_offline_needs_nothing_that_is_configured() -> None:
    """It answers from the offline model."""
    result = run("ask", "--offline", "I was charged twice, can I have my money back?", **ELSEWHERE, **SOCKS)
    assert (result.returncode, "30 days" in result.stdout) == (0, True), result.stderr


@pytest.mark.parametrize("name", ["serve", "ask", "chat", "eval"])
def test_offline_is_an_option(name: str) -> None:
    """Of each command that asks the model."""
    assert "--offline" in run(name, "--help", COLUMNS="120").stdout


def test_offline_uses_no_other_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of the environment nor of `.env`."""
    Path(".env").write_text("".join(f"{name}={value}\n" for name, value in ELSEWHERE.items()))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-1")
    for name in ELSEWHERE:
        monkeypatch.setenv(name, "")  # so that what is set to empty here is undone
    settings = load_settings(offline=True)
    assert (settings.has_model, settings.redis_url, settings.database_url) == (False, None, None)
    assert (settings.langsmith_tracing, settings.langsmith_api_key, settings.embedding_base_url) == (False, None, None)


def test_production_is_never_offline() -> None:
    """One line says so."""
    result = run("serve", "--offline", SUPPORT_ENV="production")
    assert (result.returncode, result.stderr) == (
        1,
        "support-agent: --offline: not with SUPPORT_ENV=production, which starts nothing local\n",
    )


def test_a_clone_made_on_windows_can_start_containers(tmp_path: Path) -> None:
    """Scripts, settings and descriptions have LF, also where git converts line ends."""
    clone = tmp_path / "clone"
    git = ["git", "-c", "core.autocrlf=true", "-c", "core.eol=crlf"]
    subprocess.run([*git, "clone", "-q", "--depth=1", f"file://{REPOSITORY}", clone], check=True)
    listed = subprocess.run([*git, "ls-files", "--eol"], cwd=clone, capture_output=True, text=True, check=True).stdout
    converted = [line for line in listed.splitlines() if "w/crlf" in line and "attr/-text" not in line]
    assert converted == []
    assert b"\r" not in (clone / "deploy/compose/secrets.sh").read_bytes()
