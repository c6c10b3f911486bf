"""Real parts for every test: a scripted model server, a folder of articles, the service on a socket."""

import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from redis.asyncio import Redis

from api.app import create_app
from api.settings import ServiceSettings
from harness.scripted_model import ScriptedModel, scripted_model
from harness.servers import server_under_test
from harness.serving import serving
from local.model import start_model
from local.postgres import start_postgres
from local.process import Service
from local.redis import start_redis

REPOSITORY = Path(__file__).parent.parent

# Without bytecode files every test process compiles all its imports: more than a minute in total.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# A background job ignores SIGINT, and one under nohup SIGHUP; the processes that tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

ARTICLES = {
    "refund-policy": (
        "billing",
        "Refunds",
        "Every payment is refunded in full within 30 days of the payment. Write to the billing team.",
    ),
    "duplicate-charge": (
        "billing",
        "Charged twice",
        "When a card was charged twice, the second charge is returned within 5 days.",
    ),
    "reset-password": ("technical", "Reset your password", "The reset link in the mail lasts 60 minutes."),
    "clear-cache": ("technical", "Clear the cache", "Clear the cache and restart the browser."),
    "opening-hours": ("general", "Opening hours", "Support is open Monday to Friday from 9:00 to 17:00."),
    "careers": ("general", "Careers", "Open positions are listed on the careers page."),
}

COMPANY = """\
name: Acme & Sons
desks:
  general:
    contact: help@company.example
    rules: { category: general }
  billing:
    contact: billing@company.example
    rules: { category: billing }
  technical:
    contact: support@company.example
    rules: { category: technical }
"""


FIGURE = "figure"


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Use one worker for tests under load, and otherwise two per core, up to four, since tests mostly wait."""
    alone = config.getoption("markexpr") in ("soak", "nightly")
    return 1 if alone else min(4, 2 * (os.cpu_count() or 1))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave a nightly test out of the soak tests, whichever parameter or function has which mark."""
    for item in items:
        if item.get_closest_marker("nightly"):
            item.own_markers = [mark for mark in item.own_markers if mark.name != "soak"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests measured, from all workers."""
    for outcome in ("passed", "failed"):
        for result in terminalreporter.getreports(outcome):
            for name, value in result.user_properties:
                if name == FIGURE:
                    terminalreporter.write_line(str(value))


Report = Callable[[str], None]


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Report:
    """Print a figure after the tests' results."""
    return lambda line: record_property(FIGURE, line)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the settings, keys and `.env` of the person who runs the tests."""
    for name in os.environ:
        if name.startswith(("SUPPORT_", "MCP_", "OPENAI_", "LANGSMITH_", "LANGCHAIN_")) or name in (
            "REDIS_URL",
            "DATABASE_URL",
            "PORT",
        ):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


@pytest.fixture
def articles(tmp_path: Path) -> Path:
    """A folder of six small articles."""
    folder = tmp_path / "knowledge"
    folder.mkdir()
    (folder / "company.yaml").write_text(COMPANY)
    for name, (category, title, text) in ARTICLES.items():
        (folder / f"{name}.md").write_text(f"---\nid: {name}\ntitle: {title}\ncategory: {category}\n---\n\n{text}\n")
    return folder


@pytest.fixture(scope="session")
def redis_service() -> Generator[Service]:
    with start_redis(server_under_test()) as service:
        service.wait()
        yield service


@pytest.fixture(scope="session")
def redis_url(redis_service: Service) -> str:
    """The URL of a real Redis, one for all tests."""
    return redis_service.url


@pytest.fixture(scope="session")
def postgres() -> Generator[str]:
    """A real Postgres with pgvector."""
    with start_postgres() as server:
        yield server.wait()


@pytest.fixture
def database_url(postgres: str, request: pytest.FixtureRequest) -> Generator[str]:
    """An empty database."""
    name = f"db_{abs(hash(request.node.name))}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # pyright: ignore - a name of ours
    yield f"{postgres.rsplit('/', 1)[0]}/{name}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # pyright: ignore - a name of ours


@pytest.fixture(scope="session")
def offline_model() -> Generator[Service]:
    """The offline model, one for all tests; it keeps no state between requests."""
    with start_model() as service:
        service.wait()
        yield service


@pytest.fixture
async def model() -> AsyncGenerator[ScriptedModel]:
    async with scripted_model() as scripted:
        yield scripted


@pytest.fixture
async def redis(redis_url: str) -> AsyncGenerator[Redis]:
    """A client of the service's Redis, which is emptied first."""
    async with Redis.from_url(redis_url) as client:
        await client.flushdb()
        yield client


MakeSettings = Callable[..., ServiceSettings]


@pytest.fixture
def make_settings(model: ScriptedModel, articles: Path, redis_url: str) -> MakeSettings:
    """Settings for the scripted model and the small articles; keywords are environment variables."""

    def make(**variables: Any) -> ServiceSettings:
        defaults: dict[str, Any] = {
            "OPENAI_BASE_URL": model.url,
            "OPENAI_API_KEY": "sk-test-canary",
            "REDIS_URL": redis_url,
            "SUPPORT_KNOWLEDGE": articles,
            "SUPPORT_RATE_LIMIT": "",
            "SUPPORT_CACHE_TTL": 0,
            "SUPPORT_CACHE_DIR": "",
        }
        return ServiceSettings(**(defaults | variables))

    return make


Serve = Callable[..., AbstractAsyncContextManager[str]]


@pytest.fixture
def serve(make_settings: MakeSettings) -> Serve:
    """Serve the application on a socket with these environment variables."""
    return lambda **variables: serving(create_app(make_settings(**variables)))


@pytest.fixture
async def client(serve: Serve, model: ScriptedModel) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of the service."""
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as http:
        model.forget()
        yield http
