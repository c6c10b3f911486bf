"""What the command line starts because it is not configured."""

import os
import signal
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from api.settings import ServiceSettings
from graph.errors import KnowledgeError, SettingsError
from graph.settings import AgentSettings
from local.model import start_model
from local.postgres import start_postgres
from local.process import Service
from local.redis import start_redis

Offline = Annotated[
    bool,
    typer.Option("--offline", help="Use nothing that is configured elsewhere: the offline model, a Redis of its own."),
]
_ELSEWHERE = (
    *("OPENAI_API_KEY", "OPENAI_BASE_URL", "SUPPORT_EMBEDDING_API_KEY", "SUPPORT_EMBEDDING_BASE_URL"),
    *("REDIS_URL", "DATABASE_URL", "LANGSMITH_API_KEY", "LANGSMITH_TRACING"),
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
)
"""The variables that lead to other machines."""


def load_settings(*, offline: bool) -> ServiceSettings:
    """Read the settings, without those that lead to other machines if `offline`; raises SettingsError."""
    if offline:
        os.environ.update(dict.fromkeys(_ELSEWHERE, ""))
    settings = ServiceSettings.load()
    if offline and settings.env == "production":
        raise SettingsError("--offline: not with SUPPORT_ENV=production, which starts nothing local")
    return settings


@contextmanager
def named_by(sources: Sequence[str] | None) -> Generator[None]:
    """Blame SUPPORT_KNOWLEDGE for no source that the command line names."""
    try:
        yield
    except KnowledgeError as error:
        if sources:
            raise KnowledgeError(str(error).removeprefix("SUPPORT_KNOWLEDGE: ")) from error
        raise


@dataclass(frozen=True, slots=True)
class Embedded:
    """Local services that are starting, each in place of what is not configured."""

    model: Service | None
    redis: Service | None
    postgres: Service | None = None

    @property
    def services(self) -> list[Service]:
        """Those that were started."""
        return [service for service in (self.model, self.redis, self.postgres) if service]

    def wait(self) -> None:
        """Block until all answer, and put them into this process's environment; raises LocalServiceError."""
        if self.redis:
            os.environ["REDIS_URL"] = self.redis.wait()
        if self.postgres:
            os.environ["DATABASE_URL"] = self.postgres.wait()
        if self.model:
            for name in ("NO_PROXY", "no_proxy"):
                os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1")))
            os.environ["OPENAI_BASE_URL"] = self.model.wait()
            os.environ["OPENAI_API_KEY"] = self.model.secret
            os.environ["SUPPORT_CACHE_DIR"] = ""  # it is quick, and has another address each time


@contextmanager
def embedded(settings: AgentSettings, *, redis: bool, replicas: bool = False) -> Generator[Embedded]:
    """Start what `settings` lack, in development only; it ends with the block, or with this process.

    For `replicas`, which share them, the articles are in a Postgres, and Redis keeps an append-only file.
    SIGTERM raises SystemExit meanwhile, so that what was started is also stopped; a terminal that is closed does as
    SIGTERM does, unless that was to be ignored.
    """
    development = settings.env == "development"
    before = signal.signal(signal.SIGTERM, _exit)
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    hung_up = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else _terminate)
    try:
        with ExitStack() as stack:
            yield Embedded(
                model=stack.enter_context(start_model()) if development and not settings.has_model else None,
                redis=stack.enter_context(start_redis(append_only=replicas))
                if redis and development and not settings.redis_url
                else None,
                postgres=stack.enter_context(start_postgres())
                if replicas and development and not settings.database_url
                else None,
            )
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGHUP, hung_up)


def _terminate(*_: object) -> None:
    signal.raise_signal(signal.SIGTERM)


def _exit(*_: object) -> None:
    raise SystemExit(0)
