"""Notices when files have changed: by names, sizes and times, without reading them."""

import asyncio
import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from graph.retrieval.sources.tree import NEVER, Stamp, stamp_of

LOOK = 2.0
"""Seconds between two looks at the files."""
FRESH = 3600.0
"""Seconds after which files are read again in any case: by its dates an article is for customers, or no longer."""
_STILL = 1.0  # seconds in which nothing may change before the files are read
_RESTLESS = 60.0  # seconds of changes after which the log says what is waited for
_MOST = 200_000  # files that are looked at
_PASSING = (".swp", ".swo", ".swx", ".tmp", ".temp", ".part", ".crdownload", ".lock", ".log", "~")  # how names end

_log = logging.getLogger(__name__)


def stamps_of(places: Sequence[Path]) -> dict[str, Stamp]:
    """Return the stamps of files, and of all files in and below folders, by their paths.

    It follows links as the reading of a folder does. What can't be looked at is missing, and so are hidden files, those
    of editors, and logs: they hold no articles, and may change all the time.
    """
    found: dict[str, Stamp] = {}
    for place in places:
        for path, stamp in _files(str(place), os.path.realpath(place), set()):
            found[path] = stamp
            if len(found) == _MOST:
                return found
    return found


def _files(path: str, root: str, seen: set[tuple[int, int]]) -> Iterator[tuple[str, Stamp]]:
    try:
        stat = os.stat(path)  # noqa: PTH116 - a Path for each of 10,000 files takes longer than the look
        if (stat.st_mode & 0o170000) != 0o040000:
            yield path, stamp_of(stat)
            return
        if (mark := (stat.st_dev, stat.st_ino)) in seen:
            return
        seen.add(mark)
        with os.scandir(path) as entries:
            listed = list(entries)
    except OSError:
        return
    for entry in listed:
        try:
            if not entry.is_dir():
                if not _is_passing(entry.name):
                    yield entry.path, stamp_of(entry.stat())
                continue
        except OSError:
            continue
        is_out = entry.is_symlink() and not os.path.realpath(entry.path).startswith(f"{root}{os.sep}")
        if not (is_out or entry.name.startswith(".") or entry.name.lower() in NEVER):
            yield from _files(entry.path, root, seen)


def _is_passing(name: str) -> bool:
    return name.startswith(".") or name.lower().endswith(_PASSING)


class Watch:
    """Looks at files again and again, in a thread."""

    def __init__(self, places: Sequence[Path]) -> None:
        self._places = places
        self._known: dict[str, Stamp] = {}
        self._noted = 0.0
        self._took = 0.0

    async def note(self) -> None:
        """Take note of how the files are; it is from this that `changed` tells a difference."""
        self._known = await self._look()
        self._noted = time.monotonic()

    async def changed(self) -> None:
        """Wait until a file differs, and all of them have been still for a moment; then take note of them.

        A file counts as different after an hour too.
        """
        while True:
            await asyncio.sleep(max(LOOK, 5 * self._took))
            now = await self._look()
            if now != self._known:
                now = await self._still(now)
            elif time.monotonic() - self._noted < FRESH:
                continue
            if now != self._known or time.monotonic() - self._noted >= FRESH:
                self._known, self._noted = now, time.monotonic()
                return

    async def _still(self, now: dict[str, Stamp]) -> dict[str, Stamp]:
        """Return how the files are once two looks are equal: a tree that is half copied is none yet."""
        began, is_told = time.monotonic(), False
        while True:
            await asyncio.sleep(_STILL)
            before, now = now, await self._look()
            if before == now:
                return now
            if not is_told and time.monotonic() - began > _RESTLESS:
                is_told = True
                restless = min(path for path, _ in before.items() ^ now.items())
                _log.warning("the articles are read again when their files are still; %s keeps changing", restless)

    async def _look(self) -> dict[str, Stamp]:
        began = time.monotonic()
        found = await asyncio.to_thread(stamps_of, self._places)
        self._took = time.monotonic() - began
        return found
