"""What a command has found, a line each, after a word that says what the line is about."""

import re
import sys
from collections.abc import Iterator, Sequence

_MOST = 20  # lines of one kind; --json has all
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # a title must not send escape sequences to the terminal

Row = tuple[str, str]


def several(name: str, lines: Sequence[str]) -> Iterator[Row]:
    """Yield lines of one kind, up to 20."""
    for line in lines[:_MOST]:
        yield name, line
    if len(lines) > _MOST:
        yield name, f"and {len(lines) - _MOST:,} more; --json has all"


def print_rows(rows: Sequence[Row]) -> None:
    """Print the rows; in a terminal long ones go on below where they began."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = [(name, _CONTROLS.sub(" ", text)) for name, text in rows]
    if not sys.stdout.isatty():
        for name, text in rows:
            print(f"{name:<10}  {text}")
        return
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, text in rows:
        table.add_row(Text(name, style="red" if name == "fault" else "dim"), Text(text))
    Console(highlight=False).print(table)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
