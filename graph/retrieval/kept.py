"""Vectors that are kept, so that a restart embeds only what has changed."""

import asyncio
import hashlib
import json
import logging
import os
import sqlite3
import time
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from math import isfinite
from pathlib import Path
from typing import Protocol

from graph.settings import AgentSettings

Vector = Sequence[float]

_FILE = "vectors.sqlite3"
_LARGEST = 512_000_000  # bytes of the file: 80,000 vectors of 1,536 numbers
_FRESH = 86_400  # seconds until a vector that is read counts as used once more
_WAIT = 10.0  # seconds for another process that writes
_AT_ONCE = 500  # names in one query
_SCHEMA = "CREATE TABLE IF NOT EXISTS vectors (name BLOB PRIMARY KEY, used INTEGER NOT NULL, vector BLOB NOT NULL)"
_TROUBLES = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_BUSY: "another process holds the file",
    sqlite3.SQLITE_IOERR: "reading or writing fails",
}
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)

_log = logging.getLogger(__name__)


class VectorCache(Protocol):
    """Keeps vectors by the hashes of their texts; it never fails, but may forget."""

    async def get(self, hashes: Sequence[str]) -> Mapping[str, Vector]:
        """Return those vectors that are known; an empty one stands for a text that the model refused."""
        ...

    async def put(self, vectors: Mapping[str, Vector], cut: Collection[str] = ()) -> None:
        """Keep these vectors; those of `cut` are of a text's beginning alone."""
        ...


class KeptVectors:
    """Vectors of one embedding model in a file that several processes may share; in memory where there is none.

    The file is bounded, and those that were not used for the longest time make room. A damaged one is replaced.
    """

    def __init__(self, folder: Path | None, model: str) -> None:
        """Keep them in `folder`; `model` is whatever they depend on beside the texts."""
        self._file = folder and folder / _FILE
        self._model = model
        self._in_memory: dict[str, bytes] = {}

    async def get(self, hashes: Sequence[str]) -> Mapping[str, Vector]:
        """Return those vectors that are known; an empty one stands for a text that the model refused."""
        return await asyncio.to_thread(self._get, hashes)

    async def put(self, vectors: Mapping[str, Vector], cut: Collection[str] = ()) -> None:
        """Keep these vectors without those of `cut`: the next start makes them again, and names their articles."""
        whole = {each: array("f", vector).tobytes() for each, vector in vectors.items() if each not in cut}
        if whole:
            await asyncio.to_thread(self._put, whole)

    def release(self) -> None:
        """Forget those that are in memory alone."""
        self._in_memory.clear()

    def _get(self, hashes: Sequence[str]) -> Mapping[str, Vector]:
        found = {each: self._in_memory[each] for each in hashes if each in self._in_memory}
        names = {self._name(each): each for each in hashes}

        def read(database: sqlite3.Connection) -> None:
            for some in _parts(list(names), _AT_ONCE):
                marks = ",".join("?" * len(some))
                query = f"SELECT name, used, vector FROM vectors WHERE name IN ({marks})"  # noqa: S608 - question marks
                rows: list[tuple[bytes, int, bytes]] = database.execute(query, some).fetchall()
                found.update((names[name], vector) for name, _, vector in rows)
                _use(database, [(name, used) for name, used, _ in rows])

        if self._file and self._file.exists():
            self._do(self._file, read)
        known = ((each, _vector(content)) for each, content in found.items())
        return {each: vector for each, vector in known if vector is not None}

    def _put(self, vectors: Mapping[str, bytes]) -> None:
        def write(database: sqlite3.Connection) -> None:
            now = int(time.time())
            rows = ((self._name(each), now, vector) for each, vector in vectors.items())
            database.executemany("INSERT OR REPLACE INTO vectors (name, used, vector) VALUES (?, ?, ?)", rows)
            _make_room(database)

        if self._file:
            with suppress(OSError):
                self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (self._file and self._do(self._file, write)):
            self._in_memory.update(vectors)

    def _do(self, file: Path, work: Callable[[sqlite3.Connection], None]) -> bool:
        """Do something with the file; if that fails, say so once, do without from then on, and return False."""
        try:
            with closing(sqlite3.connect(file, timeout=_WAIT)) as database, database:
                database.execute("PRAGMA synchronous = OFF")  # a crash of the machine may damage what can be replaced
                database.execute(_SCHEMA)
                work(database)
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the detail
            if code in _DAMAGED:
                _log.warning("%s is damaged; it is replaced", file)
                for path in (file, file.with_name(f"{file.name}-journal")):
                    with suppress(OSError):
                        path.unlink()
            else:
                self._file = None
                _log.warning(
                    "vectors can't be kept in %s: %s; the next start embeds all articles again, unless "
                    "SUPPORT_CACHE_DIR names a folder that can be written",
                    file.parent,
                    _TROUBLES.get(code, "it can't be written"),
                )
            return False
        return True

    def _name(self, text_hash: str) -> bytes:
        return hashlib.sha256(f"{self._model}\n{text_hash}".encode()).digest()[:16]


class Reused:
    """Vectors that are at hand, before those that another cache keeps."""

    def __init__(self, known: Mapping[str, Vector], others: VectorCache) -> None:
        """`known` has them by the hashes of their texts."""
        self._known = known
        self._others = others

    async def get(self, hashes: Sequence[str]) -> Mapping[str, Vector]:
        """Return those vectors that are known; an empty one stands for a text that the model refused."""
        await asyncio.sleep(0)  # many calls in turn find everything, and nothing else would be done meanwhile
        found = {each: self._known[each] for each in hashes if each in self._known}
        rest = [each for each in hashes if each not in found]
        return {**found, **await self._others.get(rest)} if rest else found

    async def put(self, vectors: Mapping[str, Vector], cut: Collection[str] = ()) -> None:
        """Keep these vectors in the other cache."""
        await self._others.put(vectors, cut)


def kept_vectors(settings: AgentSettings) -> KeptVectors:
    """Return the vectors that are kept for the embedding model of these settings: in no file if Postgres has them."""
    model = json.dumps([settings.embedding_model, settings.embedding_server])
    return KeptVectors(None if settings.database_url else _folder(settings.cache_dir), model)


def has_folder(settings: AgentSettings) -> bool:
    """Whether vectors are kept in a folder."""
    return _folder(settings.cache_dir) is not None


def _folder(named: str | None) -> Path | None:
    if named == "":
        return None
    try:
        return Path(named or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "support-agent")).expanduser()
    except RuntimeError:  # this user has no home
        return None


def _use(database: sqlite3.Connection, found: Sequence[tuple[bytes, int]]) -> None:
    """Count these vectors as used; where the file can only be read, nobody makes room."""
    now = int(time.time())
    if stale := [(now, name) for name, used in found if used < now - _FRESH]:
        with suppress(sqlite3.OperationalError):
            database.executemany("UPDATE vectors SET used = ? WHERE name = ?", stale)


def _make_room(database: sqlite3.Connection) -> None:
    """Delete a tenth of the vectors, those that were not used for the longest time, if the file is too large."""
    ((pages, free, size),) = database.execute(
        "SELECT page_count, freelist_count, page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
    )
    if (pages - free) * size > _LARGEST:
        database.execute(
            "DELETE FROM vectors WHERE rowid IN "
            "(SELECT rowid FROM vectors ORDER BY used, rowid LIMIT (SELECT count(*) / 10 + 1 FROM vectors))"
        )


def _vector(content: object) -> Vector | None:
    """Return the numbers of a kept vector; None if they are damaged."""
    if not isinstance(content, bytes) or len(content) % 4:
        return None
    numbers = array("f", content)
    return numbers if isfinite(sum(numbers)) and (any(numbers) or not numbers) else None


def _parts(items: Sequence[bytes], size: int) -> Iterable[Sequence[bytes]]:
    return (items[at : at + size] for at in range(0, len(items), size))
