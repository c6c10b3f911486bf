"""Passages ranked by the words of a question (BM25)."""

import re
import unicodedata
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import distribution
from itertools import chain
from runpy import run_path
from typing import Final, cast
from zlib import crc32

import numpy as np
import numpy.typing as npt
from py_rust_stemmers import SnowballStemmer  # pyright: ignore - untyped

from graph.retrieval.postings import Postings

WORDS: Final = 2
"""Increase it when a text has other terms than before, so that those in Postgres are made anew."""

_LONGEST = 40  # characters of a word; what is longer is data

# Letters, digits and underscores, and the marks that some scripts write above or below letters.
_LETTERS = r"[\w\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0e7f]+"
_NAME = re.compile(rf"{_LETTERS}(?:[-.]{_LETTERS})*")
_PARTS = re.compile(r"[-_.]+")
# Scripts without spaces between words: Thai, Lao, Burmese, Khmer, Chinese, Japanese.
_RUN = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff]+")

_STEMMERS = {
    "ar": "arabic",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "fi": "finnish",
    "fr": "french",
    "hu": "hungarian",
    "it": "italian",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sv": "swedish",
    "tr": "turkish",
}
# The names of bm25s' lists.
_STOP_WORDS = {
    "da": "DANISH",
    "de": "GERMAN",
    "en": "EN_PLUS",
    "es": "SPANISH",
    "fr": "FRENCH",
    "it": "ITALIAN",
    "nl": "DUTCH",
    "no": "NORWEGIAN",
    "pt": "PORTUGUESE",
    "ru": "RUSSIAN",
    "sv": "SWEDISH",
    "tr": "TURKISH",
}


def words_in(text: str) -> Iterator[str]:
    """Yield the words of a text in lower case.

    A name such as `E-1042` or `max_size` is one word, as well as its parts. Text without spaces between its words gives
    each two characters that stand together.
    """
    return chain.from_iterable(map(_words_of, _names_in(text)))


def _names_in(text: str) -> list[str]:
    """Return whatever stands between spaces and punctuation, in lower case."""
    return _NAME.findall(unicodedata.normalize("NFKC", text).casefold())


def _words_of(name: str) -> list[str]:
    if name.isascii() or not _RUN.search(name):
        parts = [part for part in _PARTS.split(name) if part]
        whole = "".join(parts)
        return [*parts, whole] if len(parts) > 1 and len(whole) <= _LONGEST else parts
    pairs = [pair for run in _RUN.findall(name) for pair in _pairs(run)]
    return pairs + [rest for rest in _PARTS.split(_RUN.sub("-", name)) if rest]


def _pairs(run: str) -> Iterator[str]:
    return (run[at : at + 2] for at in range(max(len(run) - 1, 1)))


@lru_cache
def stop_words(language: str) -> frozenset[str]:
    """Return the words of a language that say nothing of what a text is about; none if it has no list."""
    name = _STOP_WORDS.get(language)
    listed = cast("Sequence[str]", _lists()[f"STOPWORDS_{name}"]) if name else ()
    return frozenset(word for each in listed for word in words_in(each))


@lru_cache
def _lists() -> Mapping[str, object]:
    """Return what bm25s' module of stop words holds; the package itself imports scipy and numba where they are."""
    return run_path(str(distribution("bm25s").locate_file("bm25s/stopwords.py")))


@lru_cache
def _stem(language: str) -> Callable[[str], str]:
    """Return what makes a word its stem in this language; any thread may call it."""
    name = _STEMMERS.get(language)
    return cast("Callable[[str], str]", SnowballStemmer(name).stem_word) if name else str


class TermReader:
    """Makes numbers of the words of texts; it remembers those that it has seen, since most come again."""

    def __init__(self) -> None:
        self._known: defaultdict[str, dict[str, array[int]]] = defaultdict(dict)  # each name's terms, by language

    def read(self, text: str, language: str) -> "array[int]":
        """Return the numbers of a text's terms, each as often as it comes; `language` is ISO 639-1."""
        known, terms = self._known[language], array("I")
        for name in _names_in(text):
            if (some := known.get(name)) is None:
                some = known[name] = array("I", map(_number, _terms_of(_words_of(name), language)))
            terms += some
        return terms


class Words:
    """The words of passages, and which passage has which: five bytes a word of a passage."""

    def __init__(
        self,
        texts: Sequence[str],
        languages: Sequence[str],
        before: "tuple[Words, npt.NDArray[np.bool_]] | None" = None,
    ) -> None:
        """Count the words of `texts`, each in its language (ISO 639-1).

        If there were others `before`, those whose flag is set stay, and the texts follow them.
        """
        reader, terms, lengths = TermReader(), array("I"), list[int]()
        for text, language in zip(texts, languages, strict=True):
            some = reader.read(text, language)
            terms += some
            lengths.append(len(some))
        read = np.array(terms, np.uint32), np.array(lengths, np.int32)
        self._postings: Postings = before[0]._postings.changed(before[1], *read) if before else Postings.of(*read)  # noqa: SLF001 - its own class

    def terms(self, query: str, language: str) -> list[int]:
        """Return the numbers of those words of a query that passages have."""
        return self._postings.known(terms_of(query, language))

    def scores(self, terms: Sequence[int]) -> npt.NDArray[np.float32]:
        """Return each passage's score, 0 if it has none of the words."""
        return self._postings.scores(terms)


def terms_of(query: str, language: str) -> list[int]:
    """Return the numbers of the words of a query, each once."""
    return list(dict.fromkeys(map(_number, _terms_of(words_in(query), language))))


def _number(term: str) -> int:
    """Return a number for a term, the same on every machine; of 100,000 words about one shares its number."""
    return crc32(term.encode())


def _terms_of(words: Iterable[str], language: str) -> Iterator[str]:
    """Yield the stems of words that say something; what has digits is a name, which has none."""
    ignored, stem = stop_words(language), _stem(language)
    return (stem(word) if word.isalpha() else word for word in words if word not in ignored and len(word) <= _LONGEST)
