"""The environment as shells, `.env` and mounted secrets have it."""

import os
import re
from collections.abc import Collection
from pathlib import Path

from dotenv import dotenv_values

from graph.errors import SettingsError

ENV_FILE = ".env"
SECRETS = Path("/run/secrets")
"""Files named after environment variables, as Docker mounts secrets; the environment takes precedence."""

LIBRARIES = re.compile(r"OPENAI_(ORG|PROJECT)_ID|OTEL_.+|(HTTPS?|ALL|NO)_PROXY|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE")
"""The variables that libraries read from the process's environment."""
_OLD_NAMES = {
    "LANGCHAIN_TRACING_V2": "LANGSMITH_TRACING",
    "LANGCHAIN_API_KEY": "LANGSMITH_API_KEY",
    "LANGCHAIN_ENDPOINT": "LANGSMITH_ENDPOINT",
    "LANGCHAIN_PROJECT": "LANGSMITH_PROJECT",
    "LANGSMITH_TRACING_V2": "LANGSMITH_TRACING",
    "OPENAI_API_BASE": "OPENAI_BASE_URL",
    "OPENAI_ORGANIZATION": "OPENAI_ORG_ID",
}


def plain(value: str) -> str:
    """Return a value without white space and a pair of quotation marks around it, which `docker --env-file` keeps."""
    value = value.strip()
    if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'":
        value = value[1:-1].strip()
    return value


def read(names: Collection[str]) -> dict[str, str]:
    """Return the variables `names`, and all that begin with SUPPORT_, each from the first place that has it.

    Those that libraries read from the process's environment are made plain there. Raises SettingsError where a file is
    not UTF-8.
    """
    for name, value in os.environ.items():
        if LIBRARIES.fullmatch(name.upper()):
            os.environ[name] = plain(value)
    found = {**_secrets(names), **_env_file(), **os.environ}
    return {
        name if name.upper().startswith("SUPPORT_") else name.upper(): plain(value)
        for name, value in found.items()
        if name.upper() in names or name.upper().startswith("SUPPORT_")
    }


def old_names() -> list[str]:
    """Return a line for each variable under a name that is no longer read, unless the new one is set too."""
    found = {**_env_file(), **os.environ}
    return [f"{old}: ignored; set {new}" for old, new in _OLD_NAMES.items() if found.get(old) and not found.get(new)]


def _env_file() -> dict[str, str]:
    try:
        # Editors on Windows begin it with a mark.
        values = dotenv_values(ENV_FILE, interpolate=False, encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError(f"{ENV_FILE}: not valid UTF-8; save the file as UTF-8") from None
    return {name: value for name, value in values.items() if value is not None}


def _secrets(names: Collection[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for file in sorted(SECRETS.iterdir()) if SECRETS.is_dir() else ():
        if file.name.upper() in names and file.is_file():
            try:
                found[file.name.upper()] = file.read_text("utf-8-sig")
            except UnicodeDecodeError:
                raise SettingsError(f"{file}: not valid UTF-8; save the file as UTF-8") from None
    return found
