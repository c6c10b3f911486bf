"""Settings of a server: environment variables and mounted secrets."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

SECRETS = Path("/run/secrets")
"""Files named after settings, as Docker mounts secrets; the environment takes precedence."""


class SettingsError(Exception):
    """A setting is missing, unknown or wrong; the message is one line that names it."""


def _listed(value: object) -> object:
    return [one.strip() for one in value.split(",") if one.strip()] if isinstance(value, str) else value


type_of_list = BeforeValidator(_listed)
"""Comma separated."""


class ServerSettings(BaseModel):
    """What every server needs; each field's alias is its name without the prefix."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    prefix: ClassVar[str]
    """What the names of the variables begin with."""

    token: SecretStr = Field(
        alias="TOKEN", min_length=16, description="the token that clients send, 16 characters or more"
    )
    host: str = Field(default="127.0.0.1", alias="HOST", description="the address to listen on")
    port: int = Field(alias="PORT", ge=1, le=65535, description="the port to listen on")
    timeout: float = Field(default=20, alias="TIMEOUT", gt=0, le=300, description="seconds that a call may take")
    allowed_hosts: Annotated[tuple[str, ...], type_of_list] = Field(
        default=("localhost", "127.0.0.1", "[::1]"),
        alias="ALLOWED_HOSTS",
        description="the names that clients reach it by, comma separated, such as mcp-email; without a port: any port",
    )

    @classmethod
    def load(cls) -> Self:
        """Read the settings; raises SettingsError."""
        return cls.read({**_secrets(cls.prefix), **os.environ})

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Self:
        """Return the settings in these variables; an empty one counts as unset. Raises SettingsError."""
        values: dict[str, Any] = {
            name.removeprefix(cls.prefix): value.strip()
            for name, value in variables.items()
            if name.startswith(cls.prefix) and value.strip()
        }
        try:
            return cls(**values)
        except ValidationError as error:
            raise SettingsError(cls._said(error)) from None

    @classmethod
    def _said(cls, error: ValidationError) -> str:
        first = error.errors(include_input=False, include_url=False)[0]
        alias = str(first["loc"][0]) if first["loc"] else ""
        is_ = {field.alias: field.description for field in cls.model_fields.values()}.get(alias)
        message = first["msg"].removeprefix("Value error, ")
        match first["type"]:
            case "missing":
                return f"{cls.prefix}{alias} is not set: {is_}"
            case "extra_forbidden":
                return f"{cls.prefix}{alias}: there is no such setting"
            case _ if not alias:
                return message
            case _:
                return f"{cls.prefix}{alias}: {message[:1].lower()}{message[1:]}; it is {is_}"


def _secrets(prefix: str) -> dict[str, str]:
    files = sorted(SECRETS.iterdir()) if SECRETS.is_dir() else ()
    try:
        return {
            file.name: file.read_text("utf-8-sig") for file in files if file.name.startswith(prefix) and file.is_file()
        }
    except UnicodeDecodeError:
        raise SettingsError(f"{SECRETS}: a file that begins with {prefix} is not UTF-8") from None
