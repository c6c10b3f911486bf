"""The address of a model's server, and of Azure's, which has two forms.

Azure's v1 API ends in `/openai/v1` and is like any other. The API before it has the deployment, which is the model's
name here, in the path, and its version in the query: `https://NAME.openai.azure.com/?api-version=2024-10-21`.
"""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

DEFAULT_URL = "https://api.openai.com/v1"
_AZURE = re.compile(r"\.(?:azure\.com|azure\.us|azure\.cn|azure-api\.net)$")
_AZURE_MODELS = re.compile(r"\.(?:openai|cognitiveservices|services\.ai)\.azure\.(?:com|us|cn)$")
_WITHOUT_DEPLOYMENTS = re.compile(r"/(?:openai/v1|models)/?$")

UNENCODED = "has a password with special characters: write # as %23, / as %2F, ? as %3F, [ as %5B and ] as %5D"
"""What is wrong with a URL that has a bare password."""


@dataclass(frozen=True, slots=True)
class Address:
    """The base of all URLs of a server, and what follows their path."""

    base: str
    query: str = ""
    by_deployment: bool = False
    """Whether each model has a path of its own."""

    @classmethod
    def of(cls, base_url: str) -> Self:
        """Take a configured address apart."""
        base, _, query = base_url.partition("?")
        base = base.rstrip("/")
        by_deployment = has_deployments(base_url)
        if by_deployment:
            base = f"{re.sub(r'/openai(/.*)?$', '', base)}/openai"
        return cls(base, f"?{query}" if query else "", by_deployment)

    def path(self, model: str, path: str) -> str:
        """Return the path at which a model is asked."""
        return f"/deployments/{quote(model, safe='')}{path}" if self.by_deployment else path

    def url(self, path: str) -> str:
        """Return the URL of a path."""
        return f"{self.base}{path}{self.query}"


def has_deployments(base_url: str) -> bool:
    """Whether an address is of the API with a path for each deployment."""
    url = urlsplit(base_url)
    return _has_api_version(url) and not _WITHOUT_DEPLOYMENTS.search(url.path)


def has_version(base_url: str) -> bool:
    """Whether an address names a version of the API."""
    url = urlsplit(base_url)
    return _has_api_version(url) or bool(re.search(r"/v\d", url.path))


def is_azure(base_url: str) -> bool:
    """Whether an address is Azure's, which reads the key from a header of its own."""
    return has_deployments(base_url) or bool(_AZURE.search(urlsplit(base_url).hostname or ""))


def lacks_azure_version(base_url: str) -> bool:
    """Whether an address is Azure's but names no version of the API."""
    url = urlsplit(base_url)
    is_one = _AZURE_MODELS.search(url.hostname or "")
    return bool(is_one) and not _has_api_version(url) and not url.path.rstrip("/").endswith("/openai/v1")


def _has_api_version(url: SplitResult) -> bool:
    return "api-version" in parse_qs(url.query)


def has_bare_password(url: str, *, may_have: str = "") -> bool:
    """Whether a URL's user or password has a character that should be encoded, other than those of `may_have`.

    A `/`, `?` or `#` in it ends the part with the host, so the `@` comes too late.
    """
    rest = url.partition("://")[2]
    authority = re.split(f"[{''.join({*'/?#'} - {*may_have})}]", rest, maxsplit=1)[0]
    user, at, _ = authority.rpartition("@")
    if at:
        return bool(({*"[]"} - {*may_have}) & {*user})
    if "@" not in rest:
        return False
    host, colon, port = authority.rpartition(":")
    is_address = not colon or (host and port.isdecimal()) or authority.endswith("]")
    return rest[len(authority)] == "#" or not is_address


def without_password(address: str) -> str:
    """Return an address, or several in one text, without users and passwords."""
    return re.sub(r"(?<=://)[^/?#\s]*@", "", address)
