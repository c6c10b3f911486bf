"""Planted mistakes that a check has to find."""

from pathlib import Path


def plant(text: str, right: str, wrong: str) -> str:
    """Return a text with its first correct part replaced by a mistake."""
    assert right in text
    return text.replace(right, wrong, 1)


def plant_in(file: Path, right: str, wrong: str) -> None:
    """Put a mistake into a file."""
    file.write_text(plant(file.read_text(), right, wrong))
