"""What the agent can be told through the environment (and a `.env` file)."""

import os
import re
from pathlib import Path
from typing import Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import Field, HttpUrl, SecretStr, TypeAdapter, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from graph.errors import SettingsError

_ENV_FILE = ".env"
_SECRETS = Path("/run/secrets")
"""Files named for a variable, as Docker mounts them; the environment wins."""


class AgentSettings(BaseSettings):
    """Settings of the agent itself; each field's alias is the environment variable."""

    model_config = SettingsConfigDict(
        env_file=_ENV_FILE,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    may_be_empty: ClassVar[frozenset[str]] = frozenset()
    """Variables that say something when they are empty; others count as unset then."""

    openai_api_key: SecretStr | None = Field(default=None, alias="OPENAI_API_KEY")
    """Key of the model's server."""
    openai_base_url: str | None = Field(default=None, alias="OPENAI_BASE_URL")
    """Address of the model's server, with its version path; unset means OpenAI."""
    redis_url: SecretStr | None = Field(default=None, alias="REDIS_URL")
    """Redis 8, or any with JSON and Search; secret because it may hold a password."""
    database_url: SecretStr | None = Field(default=None, alias="DATABASE_URL")
    """Postgres with pgvector; unset keeps the articles in memory."""
    env: Literal["development", "production"] = Field(default="development", alias="SUPPORT_ENV")
    """`production` starts nothing local and refuses to run without what it needs."""
    classify_model: str = Field(default="gpt-4o-mini", alias="SUPPORT_CLASSIFY_MODEL")
    """The model that names a question's category."""
    answer_model: str = Field(default="gpt-4o", alias="SUPPORT_ANSWER_MODEL")
    """The model that writes the answer."""
    fallback_model: str | None = Field(default=None, alias="SUPPORT_FALLBACK_MODEL")
    """Asked when the answer model fails before its first token."""
    embedding_model: str = Field(default="text-embedding-3-small", alias="SUPPORT_EMBEDDING_MODEL")
    """The model that embeds articles and questions."""
    answer_timeout: float = Field(default=60, gt=0, le=3600, alias="SUPPORT_ANSWER_TIMEOUT")
    """Seconds for a whole turn, retries and fallback included."""
    session_ttl: int = Field(default=1800, ge=1, le=31_536_000, alias="SUPPORT_SESSION_TTL")
    """Seconds that a session is remembered after its last turn."""
    session_messages: int = Field(default=20, ge=2, le=200, alias="SUPPORT_SESSION_MESSAGES")
    """Messages that a session remembers at most."""
    busy_session: Literal["reject", "wait"] = Field(default="reject", alias="SUPPORT_BUSY_SESSION")
    """What a message meets whose session already has a run."""
    knowledge: Path = Field(default=Path("knowledge"), alias="SUPPORT_KNOWLEDGE")
    """Folder of articles."""
    langsmith_tracing: bool = Field(default=False, alias="LANGSMITH_TRACING")
    """Whether traces go to LangSmith."""
    langsmith_api_key: SecretStr | None = Field(default=None, alias="LANGSMITH_API_KEY")
    """Key of LangSmith."""
    langsmith_endpoint: str = Field(default="https://api.smith.langchain.com", alias="LANGSMITH_ENDPOINT")
    """Address of LangSmith."""
    langsmith_project: str = Field(default="support-agent", min_length=1, alias="LANGSMITH_PROJECT")
    """The project that traces go to."""
    langsmith_workspace: str | None = Field(default=None, alias="LANGSMITH_WORKSPACE_ID")
    """The workspace that the project is in, for keys of an organisation."""
    langsmith_sampling: float | None = Field(default=None, ge=0, le=1, alias="LANGSMITH_TRACING_SAMPLING_RATE")
    """The share of runs that are traced; None for all."""

    @field_validator("openai_base_url", "langsmith_endpoint")
    @classmethod
    def _http_url(cls, value: str | None) -> str | None:
        try:
            TypeAdapter(HttpUrl).validate_python(value or "http://unset")
        except ValidationError:
            raise ValueError("must be an address that starts with http:// or https://") from None
        return value

    @field_validator("openai_api_key", "langsmith_api_key")
    @classmethod
    def _printable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[!-~]+", value.get_secret_value()):
            raise ValueError("must be printable ASCII without white space")
        return value

    @field_validator("database_url")
    @classmethod
    def _postgres_url(cls, value: SecretStr | None) -> SecretStr | None:
        return _with_scheme(value, "postgresql://", "postgres://")

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        value = _with_scheme(value, "redis://", "rediss://", "unix://")
        try:
            _ = value and urlsplit(value.get_secret_value()).port
        except ValueError:
            raise ValueError("must have a number as its port, such as redis://host:6379/0") from None
        return value

    @property
    def has_model(self) -> bool:
        """Whether a model's server is configured."""
        return self.openai_api_key is not None or self.openai_base_url is not None

    def require(self, *, redis: bool = False) -> Self:
        """Return these settings if they suffice to run, else raise SettingsError naming what is missing."""
        missing = [] if self.has_model else ["OPENAI_API_KEY or OPENAI_BASE_URL"]
        if redis and self.redis_url is None:
            missing.append("REDIS_URL")
        if missing:
            raise SettingsError(f"missing in the environment: {', '.join(missing)}")
        return self

    @classmethod
    def load(cls) -> Self:
        """Read the environment and mounted secrets; raises SettingsError naming the first that is unknown or bad."""
        names = {str(field.alias) for field in cls.model_fields.values()}
        try:
            configured = {**dotenv_values(_ENV_FILE, interpolate=False), **os.environ}
        except UnicodeDecodeError:
            raise SettingsError(f"{_ENV_FILE}: is not UTF-8; save it as such") from None
        for name in sorted(configured):
            if name.upper().startswith("SUPPORT_") and name not in names:
                raise SettingsError(f"{name}: there is no such setting; see .env.example for those there are")
        given: dict[str, Any] = {name: "" for name in cls.may_be_empty if configured.get(name) == ""}
        if _SECRETS.is_dir():
            given["_secrets_dir"] = _SECRETS
        try:
            settings = cls(**given)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            message = first["msg"].removeprefix("Value error, ")
            raise SettingsError(f"{first['loc'][0]}: {message}") from None
        if settings.langsmith_tracing and settings.langsmith_api_key is None:
            raise SettingsError("LANGSMITH_API_KEY: missing, and LANGSMITH_TRACING=true needs it")
        return settings


def _with_scheme(value: SecretStr | None, *schemes: str) -> SecretStr | None:
    if value is not None and not value.get_secret_value().startswith(schemes):
        raise ValueError(f"must start with {' or '.join(schemes)}")
    return value
