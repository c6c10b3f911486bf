"""The agent's settings: environment variables, a `.env` file and mounted secrets."""

import re
from base64 import b64decode
from os.path import expanduser
from pathlib import Path
from typing import ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    SecretStr,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from graph.address import DEFAULT_URL, UNENCODED, has_bare_password, lacks_azure_version, without_password
from graph.environment import read
from graph.errors import SettingsError


class AgentSettings(BaseModel):
    """Settings of the agent itself; each field's alias is its environment variable."""

    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True, hide_input_in_errors=True)

    may_be_empty: ClassVar[frozenset[str]] = frozenset({"SUPPORT_CACHE_DIR"})
    """Environment variables whose empty value has a meaning; any other empty variable counts as unset."""

    openai_api_key: SecretStr | None = Field(default=None, alias="OPENAI_API_KEY")
    """API key for the model's server."""
    openai_base_url: str | None = Field(default=None, alias="OPENAI_BASE_URL")
    """URL of the model's server, including its version path; unset means OpenAI."""
    redis_url: SecretStr | None = Field(default=None, alias="REDIS_URL")
    """Redis 7.2 or Valkey 8, or later, without modules; secret because it may contain a password."""
    redis_prefix: str = Field(default="", pattern=r"^[A-Za-z0-9_.:-]{0,64}$", alias="SUPPORT_REDIS_PREFIX")
    """What every key begins with, so that several services can share one Redis."""
    redis_connections: int = Field(default=50, ge=1, le=10_000, alias="SUPPORT_REDIS_CONNECTIONS")
    """The most connections of a process to Redis; a command waits for one while all are in use."""
    redis_timeout: float = Field(default=0.4, gt=0, le=60, alias="SUPPORT_REDIS_TIMEOUT")
    """Seconds for Redis to accept a connection, and to answer a command; both are tried twice."""
    ratable_answers: int = Field(default=50_000, ge=1, alias="SUPPORT_RATABLE_ANSWERS")
    """The most answers whose question and answer are kept so that they can be rated; the oldest are forgotten."""
    database_url: SecretStr | None = Field(default=None, alias="DATABASE_URL")
    """Postgres with pgvector; if unset, the articles are kept in memory."""
    env: Literal["development", "production"] = Field(default="development", alias="SUPPORT_ENV")
    """`production` starts no local services, and refuses to start if a required setting is missing."""
    classify_model: str = Field(default="gpt-4o-mini", alias="SUPPORT_CLASSIFY_MODEL")
    """The model that classifies questions."""
    answer_model: str = Field(default="gpt-4o", alias="SUPPORT_ANSWER_MODEL")
    """The model that writes the answer."""
    fallback_model: str | None = Field(default=None, alias="SUPPORT_FALLBACK_MODEL")
    """The model to use when the answer model fails before its first token."""
    embedding_model: str = Field(default="text-embedding-3-small", alias="SUPPORT_EMBEDDING_MODEL")
    """The model that embeds articles and questions."""
    embedding_base_url: str | None = Field(default=None, alias="SUPPORT_EMBEDDING_BASE_URL")
    """URL of the embedding model's server, including its version path; unset means the one of the other models."""
    embedding_api_key: SecretStr | None = Field(default=None, alias="SUPPORT_EMBEDDING_API_KEY")
    """API key for the embedding model's server."""
    answer_timeout: float = Field(default=60, gt=0, le=3600, alias="SUPPORT_ANSWER_TIMEOUT")
    """Time-out for a whole turn in seconds, including retries and the fallback."""
    session_ttl: int = Field(default=1800, ge=1, le=31_536_000, alias="SUPPORT_SESSION_TTL")
    """Seconds after its last turn until a session expires."""
    session_messages: int = Field(default=20, ge=2, le=200, alias="SUPPORT_SESSION_MESSAGES")
    """Maximum number of messages in a session's history."""
    busy_session: Literal["reject", "wait"] = Field(default="reject", alias="SUPPORT_BUSY_SESSION")
    """What to do with a message whose session already has a run: reject it, or let it wait."""
    knowledge: str = Field(default="knowledge", alias="SUPPORT_KNOWLEDGE")
    """What articles are read from: folders, files and addresses, comma separated."""
    company: Path | None = Field(default=None, alias="SUPPORT_COMPANY")
    """The company.yaml; unset means the one in the first folder of `knowledge`."""
    strict: bool = Field(default=False, alias="SUPPORT_STRICT")
    """Whether anything that can't be read or indexed ends the start; otherwise it is named and left out."""
    cache_dir: str | None = Field(default=None, alias="SUPPORT_CACHE_DIR")
    """Folder where the articles' vectors are kept; unset means the user's cache folder, empty none."""
    mcp_servers_named: str = Field(default="", alias="SUPPORT_MCP_SERVERS")
    """The MCP servers whose tools the agent uses: `name=url` pairs, comma separated."""
    mcp_tokens_named: SecretStr | None = Field(default=None, alias="SUPPORT_MCP_TOKENS")
    """What these servers want as bearer tokens: `name=token` pairs, comma separated."""
    handoff_webhook: str | None = Field(default=None, alias="SUPPORT_HANDOFF_WEBHOOK")
    """URL that conversations are posted to which a person takes over."""
    handoff_secret: SecretStr | None = Field(default=None, alias="SUPPORT_HANDOFF_SECRET")
    """What these are signed with: `whsec_` and the Base64 of 24 to 64 random bytes."""
    handoff_email: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_-]{1,64}$", alias="SUPPORT_HANDOFF_EMAIL")
    """The name of the MCP server whose tool `send_email` tells the team of them, instead of a webhook."""
    handoff_timeout: int = Field(default=86_400, ge=1, le=2_592_000, alias="SUPPORT_HANDOFF_TIMEOUT")
    """Seconds without a person's message after which the agent answers again."""
    langsmith_tracing: bool = Field(default=False, alias="LANGSMITH_TRACING")
    """Whether to send traces to LangSmith."""
    langsmith_api_key: SecretStr | None = Field(default=None, alias="LANGSMITH_API_KEY")
    """API key for LangSmith."""
    langsmith_endpoint: str = Field(default="https://api.smith.langchain.com", alias="LANGSMITH_ENDPOINT")
    """URL of LangSmith."""
    langsmith_project: str = Field(default="support-agent", min_length=1, alias="LANGSMITH_PROJECT")
    """The LangSmith project for the traces."""
    langsmith_workspace: str | None = Field(default=None, alias="LANGSMITH_WORKSPACE_ID")
    """The project's workspace; needed with an organisation's API key."""
    langsmith_sampling: float | None = Field(default=None, ge=0, le=1, alias="LANGSMITH_TRACING_SAMPLING_RATE")
    """The share of runs that are traced; None means all."""

    @field_validator("knowledge", mode="before")
    @classmethod
    def _named(cls, value: object) -> str:
        if not _parts(named := str(value)):
            raise ValueError("must be folders, files or addresses, comma separated")
        return named

    @field_validator("openai_base_url", "embedding_base_url", "langsmith_endpoint", "handoff_webhook")
    @classmethod
    def _http_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if has_bare_password(value):
            raise ValueError(UNENCODED)
        try:
            TypeAdapter(HttpUrl).validate_python(value)
        except ValidationError:
            raise ValueError("must be a URL that starts with http:// or https://") from None
        if re.search(r"\s", value):
            raise ValueError("must be a URL without spaces")
        return value

    @field_validator("openai_base_url", "embedding_base_url")
    @classmethod
    def _without_password(cls, value: str | None) -> str | None:
        if value and "@" in urlsplit(value).netloc:  # it would stand where the key does, in the same header
            raise ValueError("must have no user and password; the server gets the API key")
        return value

    @field_validator("openai_base_url", "embedding_base_url")
    @classmethod
    def _azure_url(cls, value: str | None) -> str | None:
        if value and lacks_azure_version(value):
            raise ValueError("must end with /openai/v1, or with ?api-version= and a version such as 2024-10-21")
        return value

    @field_validator("openai_api_key", "embedding_api_key", "langsmith_api_key")
    @classmethod
    def _printable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[!-~]+", value.get_secret_value()):
            raise ValueError("must be printable ASCII without spaces")
        return value

    @field_validator("handoff_secret")
    @classmethod
    def _signing(cls, value: SecretStr | None) -> SecretStr | None:
        kind, _, key = value.get_secret_value().partition("_") if value else ("whsec", "", "A" * 32)
        try:
            is_valid = kind == "whsec" and 24 <= len(b64decode(key, validate=True)) <= 64
        except ValueError:
            is_valid = False
        if not is_valid:
            raise ValueError(
                'must be whsec_ and the Base64 of 24 to 64 random bytes: echo "whsec_$(openssl rand -base64 32)"'
            )
        return value

    @field_validator("database_url")
    @classmethod
    def _postgres_url(cls, value: SecretStr | None) -> SecretStr | None:
        value = _with_scheme(value, "postgresql://", "postgres://")
        if value and has_bare_password(value.get_secret_value(), may_have="#?[]"):  # libpq reads it as it is
            raise ValueError(UNENCODED)
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and "sentinel" in value.get_secret_value().partition("://")[0]:
            raise ValueError("must be the address of the primary; Sentinel is not supported")
        value = _with_scheme(value, "redis://", "rediss://", "unix://")
        url = value.get_secret_value() if value else "unix://"
        if url.startswith("unix://"):
            return value
        if has_bare_password(url) or "@" in urlsplit(url).path:
            raise ValueError(UNENCODED)
        try:
            _ = urlsplit(url).port
        except ValueError:
            raise ValueError("must have a numeric port, such as redis://host:6379/0") from None
        if not re.fullmatch(r"/?\d*/?", urlsplit(url).path.strip()):
            raise ValueError("must end with the number of a database, such as redis://host:6379/0")
        return value

    @field_validator("mcp_servers_named")
    @classmethod
    def _mcp_addresses(cls, value: str) -> str:
        for url in _pairs(value, "calendar=http://calendar:8000/mcp").values():
            cls._without_password(cls._http_url(url))
        return value

    @field_validator("mcp_tokens_named")
    @classmethod
    def _mcp_secrets(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        servers = _pairs(info.data.get("mcp_servers_named", ""))
        for name, token in _pairs(value.get_secret_value() if value else "", "calendar=secret").items():
            if name not in servers:
                raise ValueError(f"{name!r} is no server of SUPPORT_MCP_SERVERS")
            cls._printable(SecretStr(token))
        return value

    @property
    def mcp_servers(self) -> dict[str, str]:
        """The addresses of the MCP servers, by name."""
        return _pairs(self.mcp_servers_named)

    @property
    def mcp_tokens(self) -> dict[str, str]:
        """The tokens of the MCP servers that have one, by name."""
        return _pairs(self.mcp_tokens_named.get_secret_value()) if self.mcp_tokens_named else {}

    @property
    def has_handoff_receiver(self) -> bool:
        """Whether the team is told of conversations that a person takes over."""
        return self.handoff_webhook is not None or self.handoff_email is not None

    @property
    def sources(self) -> tuple[str, ...]:
        """What articles are read from, one by one."""
        return tuple(expanduser(source) for source in _parts(self.knowledge))  # noqa: PTH111 - addresses are no paths

    @property
    def sources_named(self) -> str:
        """The sources as they may be shown: without users and passwords."""
        return without_password(", ".join(self.sources))

    @property
    def has_model(self) -> bool:
        """Whether a model's server is configured."""
        return self.openai_api_key is not None or self.openai_base_url is not None

    @property
    def embedding(self) -> str:
        """What vectors depend on: the embedding model, and its server if it has one of its own."""
        return " ".join(filter(None, (self.embedding_model, self.embedding_base_url)))

    @property
    def embedding_server(self) -> str:
        """The address of the embedding model."""
        return self.embedding_base_url or self.openai_base_url or DEFAULT_URL

    @property
    def embedding_url_name(self) -> str:
        """The variable with the address of the embedding model."""
        return "SUPPORT_EMBEDDING_BASE_URL" if self.embedding_base_url else "OPENAI_BASE_URL"

    @property
    def embedding_key_name(self) -> str:
        """The variable with the key that the embedding model gets."""
        own = self.embedding_base_url or self.embedding_api_key
        return "SUPPORT_EMBEDDING_API_KEY" if own else "OPENAI_API_KEY"

    def require(self, *, redis: bool = False) -> Self:
        """Return these settings; raises SettingsError that names the required settings that are missing."""
        missing = [] if self.has_model else ["OPENAI_API_KEY or OPENAI_BASE_URL"]
        if redis and self.redis_url is None:
            missing.append("REDIS_URL")
        if missing:
            raise SettingsError(f"missing in the environment: {', '.join(missing)}")
        return self

    @classmethod
    def load(cls, *, others: bool = False) -> Self:
        """Read the environment, `.env` and mounted secrets; raises SettingsError for the first unknown or invalid one.

        An empty variable counts as unset, also where a later place has it. `others` are settings that something else in
        this process reads and checks.
        """
        names = {str(field.alias) for field in cls.model_fields.values()}
        found = read(names)
        for name in sorted(found.keys() - names):
            if not others:
                raise SettingsError(f"{name}: unknown setting; .env.example lists all settings")
            del found[name]
        try:
            settings = cls.model_validate(
                {name: value for name, value in found.items() if value or name in cls.may_be_empty}
            )
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            message = first["msg"].removeprefix("Value error, ")
            raise SettingsError(f"{first['loc'][0]}: {message}") from None
        if settings.langsmith_tracing and settings.langsmith_api_key is None:
            raise SettingsError("LANGSMITH_API_KEY: missing; LANGSMITH_TRACING=true requires it")
        if settings.handoff_webhook and settings.handoff_secret is None:
            raise SettingsError("SUPPORT_HANDOFF_SECRET: missing; SUPPORT_HANDOFF_WEBHOOK requires it")
        if settings.handoff_webhook and settings.handoff_email:
            raise SettingsError("SUPPORT_HANDOFF_EMAIL: set it or SUPPORT_HANDOFF_WEBHOOK, not both")
        return settings


def _parts(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _pairs(value: str, example: str = "") -> dict[str, str]:
    """Return `name=value` pairs; raises ValueError that shows an example, and none of the values."""
    pairs: dict[str, str] = {}
    for part in _parts(value):
        name, equals, content = part.partition("=")
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,31}", name) or not equals or not content:
            raise ValueError(f"must be pairs such as {example}, comma separated; names are in lower case")
        if name in pairs:
            raise ValueError(f"names {name!r} twice")
        pairs[name] = content
    return pairs


def _with_scheme(value: SecretStr | None, *schemes: str) -> SecretStr | None:
    if value is not None and not value.get_secret_value().startswith(schemes):
        raise ValueError(f"must start with {' or '.join(schemes)}")
    return value
