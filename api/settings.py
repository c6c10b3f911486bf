"""The service's settings from environment variables, in addition to the agent's."""

import ipaddress
import re
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from limits import RateLimitItem, parse_many
from pydantic import BeforeValidator, ConfigDict, Field, SecretStr

from api.auth import ANONYMOUS, NAME, PUBLIC, ApiKey, VisitorTokens
from graph.errors import SettingsError
from graph.settings import AgentSettings

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_T = TypeVar("_T")
# A web page's, or an app's with a scheme of its own, such as capacitor://localhost. No origin has a WebSocket's scheme.
_ORIGIN = re.compile(r"(?!wss?:)[a-z][a-z0-9+.-]*://([a-z0-9.-]+|\[[0-9a-f:]+\])(:\d{1,5})?")
_SHORTEST_SECRET = 32  # bytes, as many as a signature has (RFC 7518, section 3.2)
_MOST_SECRETS = 2
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def _each(read: Callable[[str], _T]) -> Callable[[Any], tuple[_T, ...]]:
    """Return a parser of comma-separated values, which reads each with `read`."""

    def items(value: Any) -> tuple[_T, ...]:  # noqa: ANN401 - whatever was configured
        if not isinstance(value, str):
            return value
        found = [item.strip() for item in value.split(",") if item.strip()]
        return tuple(read(item) for item in found or ([value] if value else []))

    return items


def _key(item: str) -> ApiKey:
    name, _, digest = item.partition(":")
    if not re.fullmatch(f"{NAME}:[0-9a-f]{{64}}", item):
        raise ValueError("must be NAME:SHA256 pairs, comma separated; create one with `support-agent key NAME`")
    if name == ANONYMOUS:
        raise ValueError(f"{ANONYMOUS} is the name of callers without a key; choose another name")
    if name == PUBLIC:
        raise ValueError(f"{PUBLIC} is the name of the visitors of the public page; choose another name")
    return ApiKey(name, bytes.fromhex(digest))


def _secret(item: str) -> SecretStr:
    if len(item.encode()) < _SHORTEST_SECRET:
        raise ValueError(f"must have at least {_SHORTEST_SECRET} bytes, as `openssl rand -hex 32` makes them")
    return SecretStr(item)


def _secrets(value: Any) -> tuple[SecretStr, ...]:  # noqa: ANN401 - whatever was configured
    found = _each(_secret)(value)
    if len(found) > _MOST_SECRETS:
        raise ValueError("must be one secret, or two while the first replaces the second, comma separated")
    return found


def origin_of(url: str) -> str:
    """Return the origin as browsers send it: without the default port."""
    scheme, _, host = url.partition("://")
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS.get(scheme, ':'))}"


def _origin(item: str) -> str:
    if not _ORIGIN.fullmatch(item):
        raise ValueError("must be origins as browsers send them, such as https://www.example.com, comma separated")
    return origin_of(item)


def _network(item: str) -> Network:
    try:
        return ipaddress.ip_network(item)
    except ValueError:
        raise ValueError("must be addresses or networks, such as 10.0.0.0/8, comma separated") from None


def _limit(value: Any) -> RateLimitItem | None:  # noqa: ANN401 - whatever was configured
    if not isinstance(value, str):
        return value
    try:
        (item,) = parse_many(value) if value.strip() else (None,)
    except ValueError:
        item = None
    if value.strip() and (item is None or item.amount < 1):
        raise ValueError("must be like 10/minute, or empty for no limit")
    return item


class ServiceSettings(AgentSettings):
    """The service's settings."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    may_be_empty: ClassVar[frozenset[str]] = AgentSettings.may_be_empty | {
        "SUPPORT_RATE_LIMIT",
        "SUPPORT_VISITOR_RATE_LIMIT",
    }

    cache_ttl: int = Field(default=3600, ge=0, le=31_536_000, alias="SUPPORT_CACHE_TTL")
    """Seconds until a cached answer expires; 0 turns the answer cache off."""
    rate_limit: Annotated[RateLimitItem | None, BeforeValidator(_limit)] = Field(
        default="10/minute", alias="SUPPORT_RATE_LIMIT", validate_default=True
    )
    """The rate limit per caller; None for no limit."""
    api_keys: Annotated[tuple[ApiKey, ...], BeforeValidator(_each(_key))] = Field(default=(), alias="SUPPORT_API_KEYS")
    """The accepted API keys; without any, no key is needed."""
    allow_anonymous: bool = Field(default=False, alias="SUPPORT_ALLOW_ANONYMOUS")
    """Whether production may run without API keys."""
    allowed_origins: Annotated[tuple[str, ...], BeforeValidator(_each(_origin))] = Field(
        default=(), alias="SUPPORT_ALLOWED_ORIGINS"
    )
    """Origins that CORS and WebSockets accept, in addition to the service's own."""
    visitor_secret: Annotated[tuple[SecretStr, ...], BeforeValidator(_secrets)] = Field(
        default=(), alias="SUPPORT_VISITOR_SECRET"
    )
    """What visitors' tokens are signed with, and the secret before it; without any there are no such tokens."""
    visitor_rate_limit: Annotated[RateLimitItem | None, BeforeValidator(_limit)] = Field(
        default="10/minute", alias="SUPPORT_VISITOR_RATE_LIMIT", validate_default=True
    )
    """The rate limit per visitor with a token, within that of the tenant; None for none."""
    public_origins: Annotated[tuple[str, ...], BeforeValidator(_each(_origin))] = Field(
        default=(), alias="SUPPORT_PUBLIC_ORIGINS"
    )
    """Origins whose pages may show the chat page in a frame, for anybody; without any, only those with a token ask."""
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(_each(_network))] = Field(
        default=(), alias="SUPPORT_TRUSTED_PROXIES"
    )
    """Networks of reverse proxies whose X-Forwarded-For, X-Forwarded-Host and X-Forwarded-Prefix are trusted."""
    domain: str | None = Field(default=None, alias="SUPPORT_DOMAIN")
    """The domain of the TLS certificate of docker-compose.yml's reverse proxy; the service itself ignores it."""
    shutdown_notice: float = Field(default=0, ge=0, le=5, alias="SUPPORT_SHUTDOWN_NOTICE")
    """Seconds after SIGTERM in which new work is still accepted, while /ready already returns 503."""
    port: int = Field(default=8000, ge=1, le=65_535, alias="PORT")
    """The port to listen on, unless the command line names another."""
    max_body: int = Field(default=65_536, ge=1024, alias="SUPPORT_MAX_BODY")
    """Maximum bytes of a request's body, and of a WebSocket message."""
    langgraph_api: Literal["on", "off"] | None = Field(default=None, alias="SUPPORT_LANGGRAPH_API")
    """Whether to serve the LangGraph API under /langgraph; unset means on in development, off in production."""

    @property
    def serves_langgraph(self) -> bool:
        """Whether the LangGraph API is on."""
        return (self.langgraph_api or ("off" if self.env == "production" else "on")) == "on"

    @property
    def tokens(self) -> VisitorTokens | None:
        """What mints and reads visitors' tokens; None without a secret."""
        if not self.visitor_secret:
            return None
        tenants = {key.name for key in self.api_keys} or {ANONYMOUS}
        secrets = [secret.get_secret_value().encode() for secret in self.visitor_secret]
        return VisitorTokens(secrets, tenants | ({PUBLIC} if self.public_origins else set()))

    @property
    def framing_origins(self) -> tuple[str, ...]:
        """Origins whose pages may show the chat page in a frame."""
        with_tokens = self.allowed_origins if self.visitor_secret else ()
        return tuple(dict.fromkeys((*self.public_origins, *with_tokens)))

    def require_service(self) -> Self:
        """Return these settings; raises SettingsError that names what is missing to serve."""
        self.require(redis=True)
        if self.env == "production" and not self.api_keys and not self.allow_anonymous:
            raise SettingsError(
                "SUPPORT_API_KEYS: set it in production, or SUPPORT_ALLOW_ANONYMOUS=true to run without keys"
            )
        if self.env == "production" and self.serves_langgraph and not self.api_keys:
            raise SettingsError("SUPPORT_API_KEYS: missing; in production SUPPORT_LANGGRAPH_API=on requires it")
        if self.public_origins and not self.visitor_secret:
            raise SettingsError("SUPPORT_VISITOR_SECRET: missing; SUPPORT_PUBLIC_ORIGINS requires it")
        return self
