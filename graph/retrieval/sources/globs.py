"""Patterns of paths, as site generators have them: `*` within a name, `**` across folders, `{a,b}`, and gitignore's."""

import re
from collections.abc import Iterable, Sequence
from fnmatch import translate

Glob = tuple[re.Pattern[str] | None, ...]
"""A pattern for each part of a path; None stands for any number of parts."""

_MOST = 256  # patterns that braces may stand for


def glob(pattern: str) -> Glob:
    """Return a pattern as it is compared with the parts of a path."""
    parts = (part for part in pattern.split("/") if part not in ("", "."))
    return tuple(None if part == "**" else re.compile(translate(part)) for part in parts)


def globs(pattern: str) -> tuple[Glob, ...]:
    """Return the patterns that one with braces stands for."""
    done: list[str] = []
    open_ = [pattern]
    while open_:
        each = open_.pop()
        braces = re.search(r"\{([^{}]*,[^{}]*)\}", each)
        if braces is None or len(done) + len(open_) >= _MOST:
            done.append(each)
        else:
            open_ += [f"{each[: braces.start()]}{one}{each[braces.end() :]}" for one in braces[1].split(",")]
    return tuple(map(glob, done))


def depths(pattern: Glob, path: str) -> list[int]:
    """Return how many of a path's parts match: all of them if the path does, fewer if a folder does that it is in."""
    found: list[int] = []
    at = _onward(pattern, {0})
    parts = path.split("/")
    for depth, part in enumerate(parts, 1):
        reached: set[int] = set()
        for place in at - {len(pattern)}:
            one = pattern[place]
            if one is None:
                reached.add(place)
            elif one.match(part):
                reached.add(place + 1)
        at = _onward(pattern, reached)
        if len(pattern) in at:
            found.append(depth)
    return found


def is_match(patterns: Iterable[Glob], path: str) -> bool:
    """Say whether a path matches one of these patterns."""
    length = path.count("/") + 1
    return any(length in depths(pattern, path) for pattern in patterns)


def is_within(patterns: Iterable[Glob], path: str) -> bool:
    """Say whether a path, or a folder that it is in, matches one of these patterns."""
    return any(depths(pattern, path) for pattern in patterns)


class Ignored:
    """Lines as in .gitignore; the last that matches decides."""

    def __init__(self, lines: Sequence[str]) -> None:
        self._rules = [rule for line in lines if (rule := _rule(line))]

    def __call__(self, path: str) -> bool:
        """Say whether a file is left out, by its path below the folder that the lines are for."""
        length = path.count("/") + 1
        is_out = False
        for pattern, is_for_folders, leaves_out in self._rules:
            if is_out != leaves_out and any(depth < length or not is_for_folders for depth in depths(pattern, path)):
                is_out = leaves_out
        return is_out


def _rule(line: str) -> tuple[Glob, bool, bool] | None:
    """Return a line's pattern, whether it is for folders alone, and whether it leaves out."""
    text = line.strip()
    if not text or text.startswith("#"):
        return None
    bare = text.removeprefix("!")
    if re.match(r"\\[#!]", bare):
        bare = bare[1:]
    is_anywhere = "/" not in bare.rstrip("/")
    return glob(f"**/{bare}" if is_anywhere else bare), bare.endswith("/"), not text.startswith("!")


def _onward(pattern: Glob, places: set[int]) -> set[int]:
    """Return the places in a pattern, with those behind each that may stand for no part."""
    found = set(places)
    for place in sorted(places):
        at = place
        while at < len(pattern) and pattern[at] is None:
            at += 1
            found.add(at)
    return found
