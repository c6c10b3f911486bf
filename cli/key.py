"""`support-agent key`: creates an API key and shows it once."""

import re
from typing import Annotated

import typer

from api.auth import ANONYMOUS, NAME, digest, new_key
from graph.errors import SettingsError


def key(
    name: Annotated[str, typer.Argument(help="Name of the key's owner. Keys with the same name share their sessions.")],
) -> None:
    """Create an API key; print it, and its entry for SUPPORT_API_KEYS."""
    if not re.fullmatch(NAME, name) or name == ANONYMOUS:
        raise SettingsError(
            f"name: must be 1 to 64 letters, digits, dots, hyphens or underscores, and not {ANONYMOUS!r}"
        )
    made = new_key()
    print(f"key               {made}")
    print(f"SUPPORT_API_KEYS  {name}:{digest(made).hex()}")
