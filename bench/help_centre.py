"""A help centre of any size, of invented articles: what syncs and searches are measured with."""

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

SECTIONS = 5
"""Of an article, each of which is one passage."""

_KNOWLEDGE = Path(__file__).parent.parent / "knowledge"
_TOPIC = 30  # words that an article is about
_WORDS = 160  # of a section
_SHARE = 0.4  # of a section's words that are the topic's


def write_help_centre(folder: Path, count: int, *, seed: int = 1) -> None:
    """Write so many articles into a folder, the same each time: a hundred in each folder below it."""
    words = vocabulary()
    (folder / "company.yaml").parent.mkdir(parents=True, exist_ok=True)
    (folder / "company.yaml").write_text(
        "name: Acme\nlanguage: en\ndesks: {general: {contact: help@company.example}}\n"
    )
    for number in range(count):
        write_article(folder, number, words, seed=seed)


def write_article(folder: Path, number: int, words: list[str], *, seed: int = 1) -> Path:
    """Write one of the articles; another seed makes another text of it."""
    random = Random(f"{seed} {number}")  # noqa: S311 - the same each time
    topic = random.sample(words, _TOPIC)
    file = folder / f"{number // 100:03}" / f"article-{number:05}.md"
    file.parent.mkdir(exist_ok=True)
    sections = "\n\n".join(
        f"## {' '.join(topic[at : at + 3])}\n\n{_text(random, topic, words)}" for at in range(SECTIONS)
    )
    file.write_text(f"---\nlanguage: en\ntitle: {' '.join(topic[:4])} {number}\n---\n\n{sections}\n")
    return file


def questions(count: int, articles: int, *, seed: int = 1) -> Iterator[str]:
    """Yield questions in the words of so many articles."""
    words, asked = vocabulary(), Random(seed)  # noqa: S311 - the same each time
    for _ in range(count):
        topic = Random(f"{seed} {asked.randrange(articles)}").sample(words, _TOPIC)  # noqa: S311 - the same each time
        yield f"How do I {' '.join(asked.sample(topic, 4))} {' '.join(asked.sample(words, 2))}?"


def vocabulary() -> list[str]:
    """Return the words of the example company's articles, each once."""
    text = " ".join(file.read_text() for file in sorted(_KNOWLEDGE.glob("*.md"))).lower()
    return sorted(set(re.findall(r"\b[a-z]{4,}\b", text)))


def _text(random: Random, topic: list[str], words: list[str]) -> str:
    chosen = [random.choice(topic) if random.random() < _SHARE else random.choice(words) for _ in range(_WORDS)]
    return " ".join(chosen).capitalize() + "."
