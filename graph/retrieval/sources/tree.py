"""Finds the files of articles below a folder, and leaves out what belongs to a site's generator or repository."""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from graph.errors import KnowledgeError
from graph.retrieval.sources import LeftOut
from graph.retrieval.sources.generators import Generators
from graph.retrieval.sources.parsers import KINDS

MAX_FILES = 50_000
"""Articles' files in one folder; further ones are not read."""
MAX_DEPTH = 30
"""Folders inside each other; deeper ones are not read."""

NEVER = frozenset({"node_modules", "__pycache__", "__macosx", "bower_components"})
"""Folders that never hold articles, nor what articles include."""
_PARTS = frozenset({
    "_includes", "_layouts", "_partials", "_partial", "_snippets", "_snippet", "_shortcodes", "_components",
    "_templates", "_template", "_data", "_sass", "_plugins", "_markup", "_assets", "_static", "_archetypes",
    "_common", "_shared", "_reusables", "_site", "_build",
})  # fmt: skip
"""Folders of Jekyll that hold no articles; elsewhere no folder does whose name begins with _."""
_BESIDE_PROJECT = frozenset({
    "static", "public", "assets", "dist", "build", "out", "themes", "scripts", "test", "tests", "__tests__", "spec",
    "bench", "vendor", "layouts", "archetypes", "snippets", "partials", "includes", "template", "templates",
    "shortcodes",
})  # fmt: skip
"""Folders beside a project's own files that hold no articles."""
_PROJECT = re.compile(
    r"package\.json|(?:docusaurus|astro|next|nuxt|gatsby|vite|svelte)[.-]config\.\w+|hugo\.(?:toml|yaml|json)|mkdocs\.ya?ml|"
    r"_config\.ya?ml|pyproject\.toml|go\.mod|gemfile|cargo\.toml|\.git|\.github|antora\.yml|docs\.json|mint\.json",
    re.IGNORECASE,
)
"""Files that make the folder they are in that of a project."""
_ABOUT_PROJECT = re.compile(
    r"(?:readme|contributing|contributors|changelog|changes|history|licen[cs]e|copying|notice|security|authors|"
    r"code[_-]of[_-]conduct|governance|maintainers|agents|claude|gemini|todo)(?:[._-][a-z]{2}(?:[_-][a-z]{2,4})?)?\.\w+",
    re.IGNORECASE,
)
"""Files of a project that are about it."""
_NO_ARTICLE = re.compile(
    r"(?:robots|humans|llms|llms-full|ads|app-ads|security|requirements[\w.-]*|constraints|cmakelists)\.txt|"
    r"(?:404|50x|offline|google[0-9a-f]{16})\.html?|(?:_|\.|(?:article|page|doc)[_-])template\.\w+|(?-i:TEMPLATE)\.\w+",
    re.IGNORECASE,
)
_ALWAYS_ABOUT_PROJECT = re.compile(
    r"(?:LICEN[CS]E|COPYING|NOTICE|CHANGELOG|CONTRIBUTING|CODE_OF_CONDUCT|SECURITY|AUTHORS|AGENTS|CLAUDE|GEMINI)(?:\.\w+)+"
    r"|SUMMARY\.md"
)
"""Files that are about a project by their capital letters; the last is the table of contents of GitBook and mdBook."""


Stamp = tuple[int, int, int]
"""A file's size in bytes, and when it was written and last touched, in nanoseconds."""


def stamp_of(stat: os.stat_result) -> Stamp:
    """Return a file's stamp."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@dataclass(frozen=True, slots=True)
class File:
    """A file that may hold articles."""

    path: str
    """Below the folder, with `/` between folders."""
    place: Path
    suffix: str
    """In lower case, with its dot."""
    defaults: Mapping[str, object] = field(default_factory=dict[str, object])
    """The fields that the settings of a site's generator give to it if it has not its own."""
    is_dated: bool = False
    """The site shows it from its date on."""

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that it is in, below the folder that is read."""
        return tuple(self.path.split("/")[:-1])


def files_in(root: Path) -> Iterator[File | LeftOut]:
    """Yield the files in a folder and below it, in the order of their paths, and what of it is not read.

    Raises KnowledgeError if the folder does not exist, is a file, or can't be read.
    """
    _check(root)
    count = 0
    for found in _Walk(root).found():
        count += isinstance(found, File)
        if count > MAX_FILES:
            yield LeftOut(
                f"{root}/", f"holds more than {MAX_FILES:,} files, of which the rest is not read", is_fault=True
            )
            return
        yield found


def _check(root: Path) -> None:
    name = f"SUPPORT_KNOWLEDGE: {str(root)!r}"
    try:
        if not root.exists():
            raise KnowledgeError(f"{name} does not exist; it must be a folder with articles")
        if not root.is_dir():
            raise KnowledgeError(f"{name} is a file; it must be a folder with articles")
        os.scandir(root).close()
    except OSError as error:
        raise KnowledgeError(
            f"{name} can't be read ({error.strerror}); give the service the right to read it"
        ) from error


class _Walk:
    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._seen: set[Path] = {self._root}
        self._generators = Generators(self._root)

    def found(self) -> Iterator[File | LeftOut]:
        yield from self._generators.faults
        # Folders that links lead to come last: then each is read where it really is, if it is in the tree.
        links: list[str] = []
        yield from self._folder("", links)
        for path in links:
            yield from self._linked(path)

    def _folder(self, path: str, links: list[str]) -> Iterator[File | LeftOut]:
        try:
            entries = sorted(os.scandir(self._root / path), key=lambda entry: entry.name)
        except OSError as error:
            yield LeftOut(f"{path}/", f"can't be read ({error.strerror})", is_fault=True)
            return
        yield from self._generators.enter(self._root / path, {entry.name for entry in entries})
        is_project = any(_PROJECT.fullmatch(entry.name) for entry in entries)
        is_jekyll = any(re.fullmatch(r"_config\.ya?ml", entry.name) for entry in entries)
        for entry in entries:
            below = f"{path}/{entry.name}" if path else entry.name
            if entry.is_dir(follow_symlinks=True):
                reason = _reason_against_folder(entry.name, is_project=is_project, is_jekyll=is_jekyll)
                if reason := self._generators.made(below) or reason:
                    yield LeftOut(f"{below}/", reason, is_fault=False)
                elif entry.is_symlink():
                    links.append(below)
                elif below.count("/") >= MAX_DEPTH:
                    yield LeftOut(f"{below}/", f"lies more than {MAX_DEPTH} folders deep", is_fault=True)
                else:
                    self._seen.add((self._root / below).resolve())
                    yield from self._folder(below, links)
            else:
                yield from self._file(below, entry, is_project=is_project)

    def _linked(self, path: str) -> Iterator[File | LeftOut]:
        real = (self._root / path).resolve()
        if not real.is_relative_to(self._root):
            yield LeftOut(path, "is a link out of the folder: copy what it leads to into it", is_fault=True)
        elif any(seen in self._seen for seen in (real, *real.parents) if seen != self._root) or real == self._root:
            yield LeftOut(path, "is a link to a folder that is read where it lies", is_fault=False)
        else:
            self._seen.add(real)
            links: list[str] = []
            yield from self._folder(path, links)
            for each in links:
                yield LeftOut(each, "is a link to a folder, below one", is_fault=True)

    def _file(self, path: str, entry: "os.DirEntry[str]", *, is_project: bool) -> Iterator[File | LeftOut]:
        suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122 - a name, not a place
        if suffix not in KINDS or entry.name.startswith((".", "~$")):  # the latter are of Word, while a file is open
            return
        if reason := _reason_against_file(entry.name, is_project=is_project):
            yield LeftOut(path, reason, is_fault=False)
            return
        if reason := self._generators.reason(path):
            yield LeftOut(path, reason, is_fault=False)
            return
        place = self._root / path
        if entry.is_symlink() and not place.resolve().is_relative_to(self._root):
            yield LeftOut(path, "is a link out of the folder: copy what it leads to into it", is_fault=True)
        elif not place.is_file():
            yield LeftOut(path, "is a link that leads nowhere, or no file", is_fault=True)
        else:
            generators = self._generators
            yield File(path, place, suffix, generators.fields(path), generators.hides_future(path))


def _reason_against_folder(name: str, *, is_project: bool, is_jekyll: bool) -> str | None:
    lowered = name.lower()
    if name.startswith("."):
        return "hidden folders are not read"
    if lowered in NEVER:
        return "holds no articles of yours"
    if lowered == "_drafts":
        return "holds drafts"
    if lowered in _PARTS or (name.startswith("_") and not is_jekyll):
        return "holds parts of pages: its name begins with _"
    if is_project and lowered in _BESIDE_PROJECT:
        return "holds no articles: it lies beside a project's own files"
    return None


def _reason_against_file(name: str, *, is_project: bool) -> str | None:
    if _NO_ARTICLE.fullmatch(name):
        return "is no article, by its name"
    if name.startswith("_") and not re.match(r"_?_?index\.", name):
        return "is a part of other pages: its name begins with _"
    if _ALWAYS_ABOUT_PROJECT.fullmatch(name) or (is_project and _ABOUT_PROJECT.fullmatch(name)):
        return "is about the project, by its name"
    return None
