"""What a prompt asks of the offline model: a label, or an answer from passages."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from local.protocol import Turn
from local.text import Block, blocks

MARK = "<unanswered>"
"""What an answer begins with that the passages do not hold, if the instructions mention it."""

MOST_PASSAGES = 20
MOST_EXAMPLES = 1000

_OPENING = re.compile(r"""((?:\s(?:[^"'>]|"[^"]*"|'[^']*')*)?)>""")  # the rest of a passage's opening tag
_DEFINITION = re.compile(r"^[-*\s]*([\w-]+)\s*(?:[-:\u2013\u2014]|is for)\s+(\S.*)$", re.MULTILINE)

Example = tuple[str, str]
"""A text and its label."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A passage in the prompt."""

    title: str
    section: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt, taken apart."""

    questions: tuple[str, ...]
    """The last user turns, at most two, without the passages in them."""
    passages: tuple[Passage, ...]
    """Those of the instructions, or else of any turn, in order; without empty ones."""
    examples: tuple[Example, ...]
    """User turns and the one-word turns after them; none if an assistant turn has several words."""
    definitions: tuple[Example, ...]
    """Lines of the instructions such as `billing - payments, refunds`, for labels of the examples."""
    contact: str
    """Who answers what the passages don't; empty if nobody is named."""
    mark: str
    """What an answer begins with that the passages do not hold; empty if the instructions mention none."""


def read_prompt(turns: Sequence[Turn]) -> Prompt:
    """Take a prompt apart."""
    instructions = "\n".join(turn.text for turn in turns if turn.role in ("system", "developer"))
    everything = "\n".join(turn.text for turn in turns)
    asked = [turn.text for turn in turns if turn.role == "user"]
    examples = _examples(turns)
    return Prompt(
        questions=tuple(_without_passages(text) for text in asked[-2:]),
        passages=_passages(instructions) or _passages(everything),
        examples=examples,
        definitions=_definitions(instructions, {label for _, label in examples}),
        contact=_contact(instructions) or _contact(everything),
        mark=MARK if MARK in _without_passages(instructions) else "",
    )


def _examples(turns: Sequence[Turn]) -> tuple[Example, ...]:
    if any(len(turn.text.split()) != 1 for turn in turns if turn.role == "assistant"):
        return ()
    found = [(one.text, other.text.strip()) for one, other in pairwise(turns) if _is_example(one, other)]
    return tuple(found[-MOST_EXAMPLES:])


def _is_example(one: Turn, other: Turn) -> bool:
    return (one.role, other.role) == ("user", "assistant")


def _definitions(instructions: str, labels: set[str]) -> tuple[Example, ...]:
    found = [(text, label) for label, text in _DEFINITION.findall(instructions) if label in labels]
    return tuple((part.strip(), label) for text, label in found for part in re.split(r"[,;]", text) if part.strip())


def _passages(prompt: str) -> tuple[Passage, ...]:
    found = [
        Passage(_attribute("title", attributes), _attribute("section", attributes), tuple(blocks(body)))
        for attributes, body, _ in _tagged(prompt)[:MOST_PASSAGES]
    ]
    return tuple(passage for passage in found if passage.blocks)


def _attribute(name: str, attributes: str) -> str:
    found = re.search(rf"""\s{name}\s*=\s*(?:"([^"]*)"|'([^']*)')""", attributes)
    return found[1] or found[2] or "" if found else ""


def _tagged(prompt: str) -> list[tuple[str, str, str]]:
    """Return each `<passage …>…</passage>`: its attributes, its text, and the text between it and the next."""
    found: list[tuple[str, str, str]] = []
    for part in prompt.split("<passage")[1:]:
        body, closing, after = part.partition("</passage>")
        if closing and (opening := _OPENING.match(body)):
            found.append((opening[1], body[opening.end() :], after))
    return found


def _without_passages(text: str) -> str:
    if not (tagged := _tagged(text)):
        return text
    return " ".join([text.partition("<passage")[0], *(after for _, _, after in tagged)]).strip()


def _contact(prompt: str) -> str:
    name, closing, _ = prompt.partition("<contact>")[2].partition("</contact>")
    return name.strip() if closing else ""
