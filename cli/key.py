"""`support-agent key`: a new API key, shown once."""

import re
from typing import Annotated

import typer

from api.auth import ANONYMOUS, NAME, digest, new_key
from graph.errors import SettingsError


def key(name: Annotated[str, typer.Argument(help="Whom it is for; keys of one name share their sessions.")]) -> None:
    """Make an API key, and print it and what the service is told of it."""
    if not re.fullmatch(NAME, name) or name == ANONYMOUS:
        raise SettingsError(
            f"name: must be 1 to 64 letters, digits, dots, hyphens or underscores, and not {ANONYMOUS!r}"
        )
    made = new_key()
    print(f"key               {made}")
    print(f"SUPPORT_API_KEYS  {name}:{digest(made).hex()}")
