"""Mistakes that tests plant, to see that they are found."""

from pathlib import Path


def plant(text: str, right: str, wrong: str) -> str:
    """Return a text with a mistake where it is first right."""
    assert right in text
    return text.replace(right, wrong, 1)


def plant_in(file: Path, right: str, wrong: str) -> None:
    """Put a mistake into a file."""
    file.write_text(plant(file.read_text(), right, wrong))
