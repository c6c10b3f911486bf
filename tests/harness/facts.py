"""Ask a service questions about a help centre, and count whose facts the answers state.

The questions are a YAML list: each with `facts`, texts one of which an answer must state, or an empty list
for a question that no article answers. It works with any release of the service.

PYTHONPATH=tests uv run python -m harness.facts http://127.0.0.1:8000 tests/data/help_centres/arduino.yaml
"""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import yaml

_REFUSALS = ("do not answer this question", "does not answer this question")  # of releases without `answered`


def plain(text: str) -> str:
    """Return a text without case, line breaks and typographic apostrophes."""
    return " ".join(text.replace("\u2019", "'").casefold().split())


def judge(reply: dict[str, Any], facts: list[str]) -> str:
    """Return what a reply is worth."""
    is_sure = reply.get("answered", not any(refusal in reply["answer"] for refusal in _REFUSALS))
    if not facts:
        return "sure, though no article answers it" if is_sure else "rightly not sure"
    has_fact = any(plain(fact) in plain(reply["answer"]) for fact in facts)
    return ("fact stated" if has_fact else "sure and wrong") if is_sure else "not sure"


def main() -> None:
    """Print the counts and, with -v, each answer that is not right."""
    parser = argparse.ArgumentParser(prog="python -m harness.facts")
    parser.add_argument("url")
    parser.add_argument("questions", type=Path)
    parser.add_argument("-v", action="store_true")
    given = parser.parse_args()
    counts: Counter[str] = Counter()
    slowest = 0.0
    with httpx.Client(base_url=given.url, timeout=120) as client:
        for case in yaml.safe_load(given.questions.read_text(encoding="utf-8")):
            question, facts = case["question"], case["facts"]
            response = client.post("/ask", json={"question": question}, headers={"Cache-Control": "no-cache"})
            slowest = max(slowest, response.elapsed.total_seconds())
            reply = response.raise_for_status().json()
            verdict = judge(reply, facts)
            counts[verdict] += 1
            if given.v and verdict not in ("fact stated", "rightly not sure"):
                print(f"{verdict}: {question}\n    {reply['answer']}")  # noqa: T201 - a command line prints
    print(dict(sorted(counts.items())), f"slowest {slowest:.2f} s")  # noqa: T201 - the same


if __name__ == "__main__":
    main()
