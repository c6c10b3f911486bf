"""What the classifier is asked, and what its reply means: the company's desks, and examples for each."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from graph.prompts import ANSWER, CLASSIFY, PASSAGE
from graph.retrieval.company import Company, Desk, plain
from graph.retrieval.desks import spread
from graph.unanswered import MARK

_MOST_EXAMPLES = 84  # enough that the nearest one alone gives the desk
_MOST_TOKENS = 1_900  # of the examples, by the estimate below
_TOKENS_A_TURN = 8  # that an example costs beside its text
_BYTES_A_TOKEN = 3.5
_BYTES_A_PIECE = 2  # of a long word, in the worst of usual tokenizers
_WORD = re.compile(r"[^\W_]+(?:-[^\W_]+)*")
_HYPHENS = re.compile("[\u2010-\u2015\u2212]")
_UMLAUTS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue"})


class DeskPrompt:
    """The classifier's prompt for a company, built once: each run's report keeps it for a while."""

    def __init__(
        self, company: Company, titles: Mapping[str, Sequence[str]] | None = None, *, version: str | None = None
    ) -> None:
        """Build the prompt; `titles` of a desk's articles serve where it has no examples, else what it is about.

        Titles whose desk is decided by meaning may differ between replicas: `version` is then that of the prompt
        without them.
        """
        self.desks = company.names
        self.first = company.desks[0].name
        """The desk of what no reply names."""
        listed = company.first_last  # "everything else" is understood at the end
        self.examples = _chosen({desk.name: _examples(desk, (titles or {}).get(desk.name, ())) for desk in listed})
        """Questions with their desks, under 2,000 tokens in total."""
        lines = "\n".join(f"{desk.name} - {desk.about}" if desk.about else desk.name for desk in listed)
        self.system = CLASSIFY.format(company=company.about or company.name, desks=lines)
        self.head: tuple[BaseMessage, ...] = (
            SystemMessage(self.system),
            *(message for example, desk in self.examples for message in (HumanMessage(example), AIMessage(desk))),
        )
        """What every prompt begins with."""
        self._words = {plain(name.translate(_UMLAUTS)): name for name in self.desks}
        self._words |= {plain(name): name for name in self.desks}
        prompts = [self.system, self.examples, ANSWER, MARK, PASSAGE]
        self.version = version or hashlib.sha256(json.dumps(prompts).encode()).hexdigest()[:12]
        """A hash of all prompts: twelve hexadecimal digits."""

    @property
    def reply_tokens(self) -> int:
        """How many tokens the longest name may need."""
        return max(len(name.encode()) for name in self.desks) // _BYTES_A_PIECE

    def asking(self, question: str) -> list[BaseMessage]:
        """Return the messages that ask for the question's desk in one word."""
        return [*self.head, HumanMessage(question)]

    def desk_in(self, reply: str, *, is_cut: bool = False) -> str | None:
        """Return the first desk that a reply names, in any case and without accents too; None if it names none.

        Of a reply that is cut the last word does not count if it may be the beginning of another desk's name.
        """
        text = _HYPHENS.sub("-", plain(reply))
        for found in _WORD.finditer(text):
            word = found[0]
            may_go_on = is_cut and found.end() >= len(text.rstrip(" -"))
            if word in self._words and not (may_go_on and self._begins_another(word)):
                return self._words[word]
        return None

    def _begins_another(self, word: str) -> bool:
        return any(other.startswith(word) and self._words[other] != self._words[word] for other in self._words)


def _examples(desk: Desk, titles: Sequence[str]) -> Sequence[str]:
    if desk.examples:
        return desk.examples
    if titles:
        return spread(titles, _MOST_EXAMPLES)
    return [phrase for part in re.split(r"[,;:.]", desk.about) if (phrase := part.strip())]


def _chosen(examples: Mapping[str, Sequence[str]]) -> tuple[tuple[str, str], ...]:
    """Return as many examples as there is room for, each once, and of each desk about as many, in the desks' order."""
    chosen: dict[str, dict[str, None]] = {desk: {} for desk in examples}
    seen: set[str] = set()
    left = float(_MOST_TOKENS)
    in_turn = zip_longest(*([(desk, example) for example in some] for desk, some in examples.items()))
    for desk, example in (pair for turn in in_turn for pair in turn if pair):
        cost = _TOKENS_A_TURN + len(example.encode()) / _BYTES_A_TOKEN
        if plain(example) in seen or cost > left or len(seen) == _MOST_EXAMPLES:
            continue
        seen.add(plain(example))
        left -= cost
        chosen[desk][example] = None
    return tuple((example, desk) for desk, some in chosen.items() for example in some)
