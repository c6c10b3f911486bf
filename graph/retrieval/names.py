"""Masks what may be people's names, and their streets, in questions that others will read.

Nothing looks like a name as an e-mail address looks like one. So a capitalised word is shown only where the articles or
another question have it too: what several customers ask about is a product, and what one of them writes may be a name.
What follows words such as "my name is" or "regards" is masked in any case.
"""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from graph.retrieval.words import stop_words, words_in

_MASK = "[name]"
_LANGUAGES = ("da", "de", "en", "es", "fr", "it", "nl", "no", "pt", "ru", "sv", "tr")

_CAPITALISED = r"[^\W\d_a-z][\w'\u2019]*"  # or begins with a small letter that is not ASCII
_BETWEEN = r"(?:[ \t]+|[ \t]*[&-][ \t]*|\.[ \t])"
_RUN = rf"{_CAPITALISED}(?:{_BETWEEN}{_CAPITALISED})*"
_RUNS = re.compile(rf"(?<!\w){_RUN}")
_WORD = re.compile(r"[\w'\u2019]+")
_BEGINS = re.compile(r"(?:\A|[.!?:\n\u2026])\W*\Z")  # what is before the first word of a sentence
_ENDS = re.compile(r"\W*?(?:[.!\n\u2026]|\Z)")
_NEIGHBOURS = re.compile(rf"{re.escape(_MASK)}(?:{_BETWEEN}{re.escape(_MASK)})+")

_NAMED = re.compile(  # up to three words, however they are written
    r"(?P<before>\b(?:my name(?: is|['\u2019]s)|i am called|ich hei(?:\u00df|ss)e|mein name ist|je m['\u2019]appelle"
    r"|mon nom est|me llamo|mi nombre es|mijn naam is|ik heet|mi chiamo|me chamo|meu nome \u00e9|signed)[\s:,]{1,3})"
    r"(?P<name>[^\W\d_][\w'\u2019-]*(?:[ \t][^\W\d_][\w'\u2019-]*){0,2})",
    re.IGNORECASE,
)
_GREETED = re.compile(  # capitalised words
    r"(?P<before>\b(?i:regards|thanks|thank you|cheers|sincerely|yours|dear|h[ae]llo|hi|hey|mr|mrs|ms|dr|herr|frau"
    r"|lieber?|gr(?:\u00fc|ue)(?:\u00df|ss)e|cordialement|bonjour|merci|saludos|gracias|groeten)"
    rf"[\s,.!:-]{{1,3}})(?P<name>{_RUN})"
)
_PRESENTED = re.compile(rf"(?P<before>\b(?i:this is|i['\u2019]?m|i am|ich bin|je suis|soy|ik ben)\s)(?P<name>{_RUN})")


class Names:
    """Knows which words are no names."""

    def __init__(self, articles: Iterable[str], questions: Sequence[str]) -> None:
        common = frozenset[str]().union(*map(stop_words, _LANGUAGES))
        self._common = {word for word in common if len(word) > 1 or word in "ai"}  # others are initials
        self._written = frozenset(word for text in articles for word in words_in(text))
        self._asked = Counter(word for question in questions for word in set(words_in(question)))

    def masked(self, question: str) -> str:
        """Return a question with what may be a name masked."""
        for cue in (_NAMED, _GREETED, _PRESENTED):
            question = cue.sub(self._cued, question)
        return _NEIGHBOURS.sub(_MASK, _RUNS.sub(self._unknown, question))

    def _cued(self, match: re.Match[str]) -> str:
        named = self._up_to_common(match["name"])
        return f"{match['before']}{_MASK}{match['name'][len(named) :]}" if named else match[0]

    def _up_to_common(self, words: str) -> str:
        common = (word.start() for word in _WORD.finditer(words) if self._is_common(word[0]))
        return words[: next(common, len(words))].rstrip()

    def _unknown(self, match: re.Match[str]) -> str:
        """Return capitalised words that stand together, with those masked that are not known if any may be a name.

        The first word of a sentence is capitalised for that reason. Alone at the end of a text it is a signature.
        """
        run, text = match[0], match.string
        words = _WORD.findall(run)
        unknown = [n for n, word in enumerate(words) if not self._may_be_shown(word)]
        is_signature = match.start() > 0 and _ENDS.match(text, match.end())
        if not unknown or (unknown == [0] and not is_signature and _BEGINS.search(text, 0, match.start())):
            return run
        return _WORD.sub(lambda word: word[0] if self._is_known(word[0]) else _MASK, run)

    def _may_be_shown(self, word: str) -> bool:
        return len(word) == 1 or self._is_known(word) or all(self._asked[part] > 1 for part in _parts(word))

    def _is_known(self, word: str) -> bool:
        return not word[0].isupper() or self._is_common(word) or all(part in self._written for part in _parts(word))

    def _is_common(self, word: str) -> bool:
        return all(part in self._common for part in _parts(word))


def _parts(word: str) -> list[str]:
    return list(words_in(re.split("['\u2019]", word)[0]))
