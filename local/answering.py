"""How the offline model answers: only with text from the prompt.

- Labels: if every assistant turn in the prompt is one word and there are no passages, the answer is a label. An
  example is a user turn and the assistant turn after it. The examples nearest to the last user turn vote, and nearer
  ones weigh more.
- Extraction: otherwise the answer consists of sentences, list items and rows of tables in the
  `<passage id="…" title="…" section="…">` blocks, those that cover most of the last user turn, or of the last two
  together: the best passage's first, and each passage's in their order. If none covers enough, the answer says so and
  names the `<contact>`, if there is one. If the instructions mention `<unanswered>`, it begins with that.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt

from local.prompt import Passage, Prompt, read_prompt
from local.protocol import Turn
from local.relevance import Relevance, content
from local.text import Block, sentences
from local.vectors import Vectors, units

NO_ANSWER = "The help articles do not answer this question."
NO_ARTICLES = "I answer only from help articles that I am given, and this prompt holds none."

VOTERS, VOTE_SHARPNESS = 25, 3
"""Number of examples that vote on a label, and the exponent that turns similarity into a vote's weight. On the
evaluation's tune split 82 % of the questions get the right category, and 78 % without the instructions' definitions."""

CONTENT = 0.3
"""Weight of the words that mean something, beside the whole text: a follow-up with its question has many others."""

WHOLE, OWN, COVERED = 0.55, 0.1, 0.3
"""Weights of a part's similarity to the question together with the headings above it, of its own similarity, and of the
share of the question's words that it covers. Like the next ones they were tuned on the evaluation's cases and on 52
questions each about the help centres of Plausible and Arduino in tests/data, and checked on those about Bitwarden's and
OnceHub's."""

AMOUNT = 0.1
"""Bonus of a part with a number or a time for a question that asks for one, in English."""

RANK_STEP = 0.025
"""Penalty per rank of a passage: the prompt lists the best first."""

TOGETHER = 0.05
"""Bonus for what covers the last two questions together: a follow-up rarely says all that it is about."""

PIECE = 0.05
"""Penalty for what covers one sentence of the question: the others may only tell a story."""

LONG, MOST_SENTENCES = 4, 8
"""Words that a sentence of the question must have to be looked up alone, and how many sentences are."""

SURE = 0.355
"""Score that the best part needs, or else the question is not answered."""

CLOSE = 0.2
"""How far below the best score another part's may be."""

SHORT = 500
"""Characters that an answer has at least, if the best passage has them."""

LENGTH = 800
"""Characters after which nothing is added to an answer; it may have more where a list is quoted as a whole."""

PARAGRAPH = 400
"""Characters of a paragraph that is quoted as a whole."""

LONGEST = 950
"""Maximum characters of an answer."""

MOST_PARTS = 3000
"""Sentences, items and rows of a prompt that are read: those of 40,000 words."""

_ASKS_AMOUNT = re.compile(
    r"\b(?:how (?:many|much|long|often|old|big|large|far|soon|high|fast)|when|by what|at most|maximum|cost|price"
    r"|(?:which|what) (?:time|age|size|share|percentage|number))\b",
    re.IGNORECASE,
)
_IS_AMOUNT = re.compile(
    r"\d|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|twelve|once|twice|half|free|unlimited|immediately"
    r"|(?:minute|hour|day|week|month|year)s?)\b",
    re.IGNORECASE,
)

Scores = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Part:
    """A sentence, item, step or row, and its place in the prompt."""

    passage: int
    block: int
    number: int
    text: str
    context: str
    """What it is compared with a question by: title and section of its passage, heading, lead-in, and its text."""


@dataclass(slots=True)
class _Line:
    kind: str
    text: str


def answer(turns: Sequence[Turn], vectors: Vectors) -> str:
    """Return the complete answer to a prompt."""
    prompt = read_prompt(turns)
    if prompt.examples and not prompt.passages:
        return _label(prompt, vectors)
    if not prompt.passages:
        return NO_ARTICLES
    return _extract(prompt, vectors) or _no_answer(prompt)


def _no_answer(prompt: Prompt) -> str:
    contact = f" Please write to {prompt.contact}." if prompt.contact else ""
    return f"{prompt.mark}{NO_ANSWER}{contact}"


def _label(prompt: Prompt, vectors: Vectors) -> str:
    """Return the label that the nearest examples vote for."""
    known = (*prompt.examples, *prompt.definitions)
    texts = [*(text for text, _ in known), prompt.questions[-1]]
    meant = [" ".join(content(text)) or text for text in texts]
    near = (1 - CONTENT) * _near_last(vectors.of(texts)) + CONTENT * _near_last(vectors.of(meant))
    votes: defaultdict[str, float] = defaultdict(float)
    for index in np.argsort(-near, kind="stable")[:VOTERS]:
        votes[known[index][1]] += max(float(near[index]), 0.0) ** VOTE_SHARPNESS
    return max(votes, key=lambda label: votes[label])


def _near_last(rows: npt.NDArray[np.float32]) -> Scores:
    """Return the similarity of each row to the last one, without what all of them have in common."""
    *others, last = rows
    centre = np.mean(others, axis=0)
    return units(np.array(others) - centre) @ units(last[None] - centre)[0]


def _parts(passages: Sequence[Passage]) -> list[Part]:
    parts = (
        Part(place, number, index, text, _context(passage, block, text))
        for place, passage in enumerate(passages)
        for number, block in enumerate(passage.blocks)
        for index, text in enumerate(block.parts)
    )
    return list(islice(parts, MOST_PARTS))


def _context(passage: Passage, block: Block, text: str) -> str:
    return "\n".join(filter(None, (passage.title, passage.section, block.heading, block.lead, text)))


def _extract(prompt: Prompt, vectors: Vectors) -> str:
    """Return the parts of passages that cover the question, or "" if none covers enough."""
    if not prompt.questions or not prompt.questions[-1].strip():
        return ""
    parts = _parts(prompt.passages)
    scores = _scores(prompt, parts, vectors)
    if scores.max() < SURE:
        return ""
    return _composed(prompt.passages, parts, scores)


def _scores(prompt: Prompt, parts: Sequence[Part], vectors: Vectors) -> Scores:
    texts = [part.context for part in parts]
    relevance = Relevance(texts, vectors)
    rows = WHOLE * vectors.of(texts) + OWN * vectors.of([part.text for part in parts])
    amounts = AMOUNT * np.array([bool(_IS_AMOUNT.search(part.text)) for part in parts], np.float32)

    def of(question: str) -> Scores:
        near = rows @ vectors.of([question])[0] + COVERED * relevance.covered(question)
        return near + amounts if _ASKS_AMOUNT.search(question) else near

    *earlier, question = prompt.questions
    asked = [of(question), *([of("\n".join(prompt.questions)) + TOGETHER] if earlier else [])]
    asked += [
        of(sentence) - PIECE for sentence in sentences(question)[:MOST_SENTENCES] if len(sentence.split()) >= LONG
    ]
    ranks = np.array([part.passage for part in parts], np.float32)
    scores: Scores = np.array(asked, np.float32).max(axis=0) - np.float32(RANK_STEP) * ranks
    return scores.round(4)  # processors round the last digits differently


def _composed(passages: Sequence[Passage], parts: Sequence[Part], scores: Scores) -> str:
    """Return the best parts, with what they need to be understood: the best passage first, each in its own order."""
    by_block: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, part in enumerate(parts):
        by_block[part.passage, part.block].append(index)
    chosen: set[int] = set()
    length = 0
    best, close = parts[int(scores.argmax())].passage, scores.max() - CLOSE
    order: list[int] = np.argsort(-scores, kind="stable").tolist()
    for index in order:
        part = parts[index]
        is_wanted = scores[index] >= close or (length < SHORT and part.passage == best)
        if length >= LENGTH:
            break
        if index in chosen or not is_wanted:
            continue
        siblings = by_block[part.passage, part.block]
        wanted = _around(passages[part.passage].blocks[part.block], siblings, index, scores, close)
        added = sum(len(parts[one].text) + 1 for one in wanted if one not in chosen)
        if chosen and length + added > LONGEST:
            continue
        chosen.update(wanted)
        length += added
    rank = {parts[index].passage: place for place, index in reversed([*enumerate(order)])}
    return _written(
        passages, [parts[index] for index in sorted(chosen, key=lambda one: (rank[parts[one].passage], one))]
    )


def _around(block: Block, siblings: list[int], index: int, scores: Scores, close: float) -> list[int]:
    """Return the parts of a block that are quoted together with one of them."""
    at = siblings.index(index)
    if block.kind == "steps":
        return _within(block, siblings, 0, len(siblings), at)
    if block.kind == "list":
        if sum(map(len, block.parts)) <= LENGTH:
            return siblings
        return [one for one in siblings if one == index or scores[one] >= close]
    if block.kind == "table":
        return [index]
    if sum(map(len, block.parts)) <= PARAGRAPH:
        return siblings
    return _within(block, siblings, max(at - 1, 0), at + 3, at)


def _within(block: Block, siblings: list[int], start: int, end: int, at: int) -> list[int]:
    """Return the parts from `start` to `end`, as many as fit, and in any case the one at `at`."""
    length = 0
    kept: list[int] = []
    for number in range(start, min(end, len(siblings))):
        length += len(block.parts[number])
        if length > LONGEST and number > at:
            break
        kept.append(siblings[number])
    return kept


def _written(passages: Sequence[Passage], parts: Sequence[Part]) -> str:
    """Return the text of parts: paragraphs, and lists with their lead-in once."""
    written: list[_Line] = []
    lead = ""  # of the part before; the rows of a table have one in common
    for part in parts:
        block = passages[part.passage].blocks[part.block]
        if block.kind == "prose":
            if written and written[-1].kind == "prose":
                written[-1].text += f" {part.text}"
            else:
                written.append(_Line("prose", part.text))
        else:
            if block.lead and block.lead != lead:
                written.append(_Line("lead", block.lead))
            mark = f"{part.number + 1}." if block.kind == "steps" else "-"
            written.append(_Line("item", f"{mark} {part.text}"))
        lead = block.lead
    return "\n".join(line.text for line in written)
