"""Which of the help centre's languages a question is in."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from math import log

from graph.retrieval.words import stop_words, words_in

_LIKELIEST = "en"  # the language of articles that name none, where the company names none either
_COMMON = 0.001  # how often each of a language's stop words is said to occur, so that few articles are enough
_RARE = 1e-6  # how often a word occurs that no article of a language has
_SURE = 2.0  # how much likelier, as a logarithm, a language must be than the default one


class Languages:
    """The languages of a library; a question's is the one whose articles use its words most.

    No other language can come out, which a library for a hundred of them can't say of short questions.
    """

    def __init__(self, texts: Iterable[tuple[str, str]], default: str) -> None:
        """Count the words of texts, each with its language (ISO 639-1); `default` is one of these languages."""
        counts: dict[str, Counter[str]] = {}
        for text, language in texts:
            counts.setdefault(language, Counter()).update(_words(text))
        self._default = default
        self._shares = {
            language: {word: count / words.total() for word, count in words.items()}
            for language, words in counts.items()
        }

    def of(self, question: str) -> str:
        """Return the language of a question, the default one if its words do not tell."""
        words = list(_words(question))
        likely = {language: self._likelihood(words, language) for language in self._shares}
        best = max(likely, key=lambda language: likely[language])
        return best if likely[best] > likely[self._default] + _SURE else self._default

    def _likelihood(self, words: Sequence[str], language: str) -> float:
        shares, common = self._shares[language], stop_words(language)
        return sum(log(shares.get(word, 0) + (_COMMON if word in common else 0) + _RARE) for word in words)


def default_language(languages: Iterable[str | None], named: str | None) -> str:
    """Return the language of articles that name none: `named` if some article is in it, else the most frequent."""
    known = Counter(each or named or _LIKELIEST for each in languages)
    return named if named in known and named else next(iter(dict(known.most_common(1))), _LIKELIEST)


def _words(text: str) -> Iterator[str]:
    """Yield the words of a text without numbers, codes and single letters."""
    return (word for word in words_in(text) if word.isalpha() and len(word) > 1)
