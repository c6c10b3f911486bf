"""What a site's generator leaves out by its own settings, the fields that it gives to pages, and what it has made."""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, cast

from graph.retrieval.sources import LeftOut, UnreadableError
from graph.retrieval.sources.globs import Ignored, glob, globs, is_match, is_within
from graph.retrieval.sources.site_files import list_in_python, objects_in_script, read_settings

_Matches = Callable[[str], bool]
_SCRIPTS = ("js", "ts", "mjs", "mts", "cjs", "cts")
_DOCUSAURUS = {"docs": "docs", "": "docs", "blog": "blog", "pages": "src/pages"}
"""Where the pages of Docusaurus' plugins are if they do not say so; one that is not in a preset has no name."""
_HUGO = tuple(f"{name}.{suffix}" for name in ("hugo", "config") for suffix in ("toml", "yaml", "yml", "json"))


@dataclass(frozen=True, slots=True)
class _Exclusion:
    base: str
    """The folder that the paths are below, with `/` at its end."""
    matches: _Matches
    reason: str


@dataclass(frozen=True, slots=True)
class _Defaults:
    base: str
    matches: _Matches
    values: Mapping[str, object]


class Generators:
    """The settings of the generators that are met on the way through a tree."""

    def __init__(self, root: Path) -> None:
        """Read what stands beside the folder `root`, which may be a part of a site."""
        self._root = f"{root}/"
        self._exclusions: list[_Exclusion] = []
        self._defaults: list[_Defaults] = []
        self._outputs: dict[str, str] = {}
        self._hugo: list[str] = []
        self.faults = list(self.enter(root.parent)) if root.parent != root else []
        # What leaves out the whole folder is of another site: somebody has named the folder on purpose.
        inside = f"{root}/\0"
        self._exclusions = [each for each in self._exclusions if not _applies(each, inside)]

    def enter(self, folder: Path, listed: Collection[str] | None = None) -> Iterator[LeftOut]:
        """Read the settings in a folder, of which `listed` is in it; yields those that can't be read."""
        for names, read in _READERS:
            for name in names:
                is_there = listed is None or name.partition("/")[0] in listed
                if is_there and (path := folder / name).is_file():
                    try:
                        read(self, folder, path)
                    except UnreadableError as error:
                        reason = f"{error.reason}: what it leaves out is read"
                        yield LeftOut(os.path.relpath(path, self._root), reason, is_fault=True)

    def reason(self, path: str) -> str | None:
        """Return why the settings leave out a file, by its path below the root."""
        place = self._root + path
        return next((each.reason for each in self._exclusions if _applies(each, place)), None)

    def made(self, path: str) -> str | None:
        """Return what has made a folder, if a generator has, by its path below the root."""
        return self._outputs.get(os.path.normpath(self._root + path))

    def fields(self, path: str) -> dict[str, object]:
        """Return the fields that settings give to a page which does not have its own."""
        place = self._root + path
        return {name: value for each in self._defaults if _applies(each, place) for name, value in each.values.items()}

    def hides_future(self, path: str) -> bool:
        """Say whether a page's date, if it is to come, keeps it from the site."""
        return any(f"{self._root}{path}".startswith(base) for base in self._hugo)

    def mkdocs(self, folder: Path, path: Path) -> None:
        """Read MkDocs' mkdocs.yml."""
        settings = read_settings(path)
        base = _below(folder, settings.get("docs_dir"), "docs")
        for name in ("exclude_docs", "draft_docs"):
            if isinstance(lines := settings.get(name), str):
                self._exclude(base, Ignored(lines.splitlines()), path, name)
        self._make(folder, settings.get("site_dir"), "site", "MkDocs")

    def jekyll(self, folder: Path, path: Path) -> None:
        """Read Jekyll's _config.yml."""
        settings = read_settings(path)
        base = _below(folder, settings.get("source"), ".")
        excluded, included = (tuple(_texts(settings.get(name))) for name in ("exclude", "include"))

        def is_left_out(place: str) -> bool:
            return _is_named(excluded, place) and not _is_named(included, place)

        if excluded:
            self._exclude(base, is_left_out, path, "exclude")
        self._make(folder, settings.get("destination"), "_site", "Jekyll")
        scopes = [each for each in _maps(settings.get("defaults")) if isinstance(each.get("values"), Mapping)]
        for each in sorted(scopes, key=lambda each: len(str(_of(each, "scope", "path") or ""))):
            values = cast("Mapping[object, object]", each["values"])
            plain = {str(name): value for name, value in values.items() if isinstance(value, str | int)}
            scope, kind = str(_of(each, "scope", "path") or ""), _of(each, "scope", "type")
            self._defaults.append(_Defaults(base, _scope(scope, kind), plain))

    def sphinx(self, folder: Path, path: Path) -> None:
        """Read Sphinx's conf.py, without running it."""
        text = list_in_python(path, "exclude_patterns")
        patterns = [glob(each) for each in text]
        if patterns:
            self._exclude(_below(folder, None, "."), lambda place: is_within(patterns, place), path, "exclude_patterns")
        self._make(folder, None, "_build", "Sphinx")

    def sphinx_apart(self, folder: Path, _: Path) -> None:
        """Note where Sphinx writes whose sources are in a folder of their own."""
        self._make(folder, None, "build", "Sphinx")

    def docusaurus(self, folder: Path, path: Path) -> None:
        """Read the lists `exclude` of Docusaurus' plugins for docs, blogs and pages."""
        self._make(folder, None, "build", "Docusaurus")
        for plugin in objects_in_script(path):
            base = plugin.texts.get("path") or _DOCUSAURUS.get(plugin.name)
            if base and (patterns := plugin.lists.get("exclude")):
                self._exclude(_below(folder, base, "docs"), _whole(patterns), path, "exclude")

    def vitepress(self, folder: Path, path: Path) -> None:
        """Read the list `srcExclude` of VitePress' settings."""
        for settings in objects_in_script(path):
            if patterns := settings.lists.get("srcExclude"):
                base = _below(folder, settings.texts.get("srcDir"), ".")
                self._exclude(base, _whole(patterns), path, "srcExclude")

    def hugo(self, folder: Path, path: Path) -> None:
        """Read Hugo's settings; another generator's `config.yaml` is none."""
        if path.parent.name == "_default":
            is_hugo = True
        else:
            is_hugo = path.name.startswith("hugo.") or (folder / "content").is_dir()
        if not is_hugo:
            return
        settings = {name.lower(): value for name, value in read_settings(path).items()}
        self._make(folder, settings.get("publishdir"), "public", "Hugo")
        if not settings.get("buildfuture"):
            self._hugo.append(_below(folder, settings.get("contentdir"), "content"))

    def _exclude(self, base: str, matches: _Matches, path: Path, name: str) -> None:
        self._exclusions.append(_Exclusion(base, matches, f"{path.name} leaves it out ({name})"))

    def _make(self, folder: Path, given: object, usual: str, by: str) -> None:
        place = _below(folder, given, usual).rstrip("/")
        if place != str(folder):
            self._outputs[place] = f"holds the pages that {by} has made"


_READERS: tuple[tuple[tuple[str, ...], Callable[[Generators, Path, Path], None]], ...] = (
    (("mkdocs.yml", "mkdocs.yaml"), Generators.mkdocs),
    (("_config.yml", "_config.yaml"), Generators.jekyll),
    (("conf.py",), Generators.sphinx),
    (("source/conf.py",), Generators.sphinx_apart),
    (tuple(f"docusaurus.config.{suffix}" for suffix in _SCRIPTS), Generators.docusaurus),
    (tuple(f".vitepress/config{at}.{suffix}" for at in ("", "/index") for suffix in _SCRIPTS), Generators.vitepress),
    ((*_HUGO, *(f"config/_default/{name}" for name in _HUGO)), Generators.hugo),
)


def settings_of(folder: Path) -> list[Path]:
    """Return where settings may be that a walk through the folder's files does not meet."""
    names = [name for names, _ in _READERS for name in names]
    return [folder.parent / name for name in names] + [folder / name for name in names if name.startswith(".")]


def _applies(what: _Exclusion | _Defaults, place: str) -> bool:
    return place.startswith(what.base) and what.matches(place[len(what.base) :])


def _below(folder: Path, given: object, usual: str) -> str:
    """Return a folder that settings name, or the usual one, with `/` at its end."""
    named = given if isinstance(given, str) and given and "\0" not in given else usual
    return f"{os.path.normpath(folder / named)}/"


def _texts(value: object) -> Iterator[str]:
    for each in cast("list[object]", value) if isinstance(value, list) else [value]:
        if isinstance(each, str) and each.strip("/ "):
            yield each.strip().removeprefix("./").removeprefix("/")


def _maps(value: object) -> Iterator[Mapping[str, object]]:
    for each in cast("list[object]", value) if isinstance(value, list) else []:
        if isinstance(each, dict):
            yield cast("Mapping[str, object]", each)


def _of(value: Mapping[str, object], *names: str) -> object:
    found: Any = value
    for name in names:
        found = cast("dict[str, Any]", found).get(name) if isinstance(found, dict) else None
    return found


def _is_named(patterns: tuple[str, ...], place: str) -> bool:
    """Say whether Jekyll's `exclude` has a file: a path may begin with what stands there, and `*` has `/` in it."""
    parts = place.split("/")
    above = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    return any(
        place.startswith(pattern) or any(fnmatchcase(each, pattern.rstrip("/")) for each in above)
        for pattern in patterns
    )


def _scope(path: str, kind: object) -> _Matches:
    """Return what tells whether Jekyll's defaults of a scope are for a file."""
    bare = path.strip("/")
    pattern = glob(bare)

    def is_in(place: str) -> bool:
        collection = re.search(r"(?:^|/)_([^/]+)/", place)
        if kind and kind != (collection[1] if collection else "pages"):
            return False
        return is_within([pattern], place) if "*" in bare else place.startswith(bare)

    return is_in


def _whole(patterns: list[str]) -> _Matches:
    found = [each for pattern in patterns for each in globs(pattern.removeprefix("./"))]
    return lambda place: is_match(found, place)
