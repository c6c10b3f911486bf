"""What is to be known of a help centre before it is served: what is read, what not and why, and where it is weak."""

import hashlib
import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from graph.retrieval.articles import Article, Library
from graph.retrieval.company import plain
from graph.retrieval.sources import LeftOut

_LONGEST = 5  # articles that are shown
_DOUBTFUL = frozenset({"draft", "drafts", "internal", "private", "intern", "entwürfe", "unpublished", "confidential"})
_CODE = re.compile(r"^( *)(```|~~~).*?^\1\2[^\n]*$|`[^`\n]*`", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[[^\]\n]*\]\(\s*<?([^)\s>]+)|^ {0,3}\[[^\]\n]+\]:\s+<?([^\s>]+)", re.MULTILINE)
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found."""

    library: Library
    by_meaning: Mapping[str, str]
    """The desks of articles that no rule names, by their ids; those are missing that are not decided yet."""

    @property
    def faults(self) -> list[LeftOut]:
        """What should have been read and could not."""
        return [one for one in self.library.left_out if one.is_fault]

    @property
    def reasons(self) -> Mapping[str, int]:
        """Why articles are left out on purpose, the most frequent reason first."""
        return dict(Counter(one.reason for one in self.library.left_out if not one.is_fault).most_common())

    @property
    def idle_patterns(self) -> list[str]:
        """The company's patterns for what is not for customers that leave nothing out."""
        reasons = " ".join(self.reasons)
        patterns = [f"{name}: {one}" for name, some in self.library.company.leave_out.items() for one in some]
        return [pattern for pattern in patterns if f"({pattern})" not in reasons]

    @property
    def doubtful_folders(self) -> Mapping[str, int]:
        """Folders whose names say that they are not for customers, and how many articles are read from each."""
        folders = (re.split(r"[/:]", article.id)[:-1] for article in self.library.articles)
        return dict(Counter(name for parts in folders for name in sorted({*parts}) if name.lower() in _DOUBTFUL))

    @property
    def languages(self) -> Mapping[str, int]:
        """The articles by language, the most frequent first; "unknown" if none is known."""
        return dict(Counter(one.language or "unknown" for one in self.library.articles).most_common())

    @property
    def longest(self) -> list[Article]:
        """The longest articles, the longest first."""
        return sorted(self.library.articles, key=lambda one: -words(one))[:_LONGEST]

    def desk_of(self, article: Article) -> tuple[str | None, str]:
        """Return an article's desk, None if that is not decided yet, and how it is decided."""
        if article.desk is not None:
            return article.desk, "rules" if len(self.library.company.desks) > 1 else "one desk"
        return self.by_meaning.get(article.id), "meaning"

    @property
    def same_titles(self) -> list[list[Article]]:
        """Articles of one language that share a title, without case and accents."""
        return self._alike(lambda article: f"{article.language} {' '.join(plain(article.title).split())}")

    @property
    def same_texts(self) -> list[list[Article]]:
        """Articles that share a text."""
        return self._alike(lambda article: hashlib.sha256(" ".join(article.text.split()).encode()).hexdigest())

    @property
    def broken_links(self) -> list[tuple[Article, str]]:
        """Links that should lead to an article of this help centre, and lead to none."""
        articles = self.library.articles
        known = {_address(article.url) for article in articles if article.url}
        home = _home(_address((self.library.company.url or "").partition("{")[0]), known)
        return [
            (article, target)
            for article in articles
            for target in dict.fromkeys((*article.dead_links, *_links(article.text)))
            if target in article.dead_links or _is_broken(target, home, known)
        ]

    def _alike(self, key: Callable[[Article], str]) -> list[list[Article]]:
        alike: defaultdict[str, list[Article]] = defaultdict(list)
        for article in self.library.articles:
            alike[key(article)].append(article)
        return [some for some in alike.values() if len(some) > 1]


def words(article: Article) -> int:
    """Return how long an article is."""
    return len(article.text.split())


def _links(text: str) -> list[str]:
    return [inline or reference for inline, reference in _LINK.findall(_CODE.sub("", text))]


def _is_broken(target: str, home: str, known: set[str]) -> bool:
    if target.startswith("#"):
        return False
    if not _SCHEME.match(target) and not target.startswith("//"):
        return True  # what leads to an article has been given its public address
    address = _address(target)
    return bool(home) and (address == home or address.startswith(f"{home}/")) and address not in {*known, home}


def _home(pattern: str, known: set[str]) -> str:
    """Return where the help centre begins: as deep as all its addresses agree, since the site may have other pages."""
    below = [address for address in known if address == pattern or address.startswith(f"{pattern}/")]
    return posixpath.commonpath(below) if pattern and len(below) > 1 else pattern if known else ""


def _address(url: str) -> str:
    """Return an address without what does not change where it leads."""
    bare = re.split(r"[?#]", url)[0]
    return re.sub(r"^https?://(?:www\.)?", "", bare, flags=re.IGNORECASE).rstrip("/").removesuffix(".html").casefold()
