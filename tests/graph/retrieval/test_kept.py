"""Vectors on disk: several processes, damage, and disks that can't be written."""

import asyncio
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from conftest import REPOSITORY
from graph.retrieval import kept
from graph.retrieval.kept import KeptVectors, kept_vectors
from graph.settings import AgentSettings

ONE, TWO = {"a": [1.0, 2.0]}, {"b": [3.0, 4.0]}
FILE = "vectors.sqlite3"


async def found(vectors: KeptVectors, *hashes: str) -> dict[str, Sequence[float]]:
    return {each: list(vector) for each, vector in (await vectors.get(hashes)).items()}


async def test_vectors_survive_a_restart(tmp_path: Path) -> None:
    """Each model has its own, a refused text is known as such, and nobody else may read the folder."""
    folder = tmp_path / "cache"
    await KeptVectors(folder, "one").put({**ONE, "refused": []})
    assert await found(KeptVectors(folder, "one"), "a", "b", "refused") == {"a": [1.0, 2.0], "refused": []}
    assert await found(KeptVectors(folder, "other"), "a") == {}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_more_vectors_than_one_query_takes_are_found(tmp_path: Path) -> None:
    """They are looked up in parts."""
    vectors = {str(number): [float(number), 1.0] for number in range(1200)}
    await KeptVectors(tmp_path, "one").put(vectors)
    assert await found(KeptVectors(tmp_path, "one"), *vectors) == vectors


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_a_damaged_file_is_replaced(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """What it held is embedded again, and kept from then on."""
    (tmp_path / FILE).write_bytes(content)
    vectors = KeptVectors(tmp_path, "one")
    assert await found(vectors, "a") == {}
    await vectors.put(ONE)
    await vectors.put(TWO)
    assert await found(KeptVectors(tmp_path, "one"), "a", "b") in (ONE | TWO, TWO)
    assert caplog.text.count("is damaged") == bool(content)


async def test_a_file_of_another_kind_is_replaced(tmp_path: Path) -> None:
    """A database without the columns is damaged too."""
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("CREATE TABLE vectors (something TEXT)")
    database.close()
    vectors = KeptVectors(tmp_path, "one")
    assert await found(vectors, "a") == {}
    await vectors.put(ONE)
    assert await found(KeptVectors(tmp_path, "one"), "a") == ONE


async def test_damaged_vectors_count_as_unknown(tmp_path: Path) -> None:
    """Half a number, infinity and zeros are embedded again."""
    await KeptVectors(tmp_path, "one").put({"a": [1.0], "b": [0.0, 0.0], "c": [float("inf")], "d": [2.0]})
    with sqlite3.connect(tmp_path / FILE) as database:
        database.execute("UPDATE vectors SET vector = x'000000' WHERE vector = x'0000803f'")
    database.close()
    assert await found(KeptVectors(tmp_path, "one"), "a", "b", "c", "d") == {"d": [2.0]}


@pytest.mark.parametrize("reason", ["a file is in the way", "the disk is full", "another process holds the file"])
async def test_a_folder_that_cannot_be_written_costs_nothing(
    tmp_path: Path, reason: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log says so once, and this process still keeps what it has."""
    folder = tmp_path / "cache"
    holder = None
    if reason == "a file is in the way":
        folder.write_text("")
    elif reason == "the disk is full":
        monkeypatch.setattr(sqlite3, "connect", _small)
    else:
        monkeypatch.setattr(kept, "_WAIT", 0.1)
        folder.mkdir()
        holder = sqlite3.connect(folder / FILE, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
    vectors = KeptVectors(folder, "one")
    big = {str(number): [1.0] * 2000 for number in range(10)}
    await vectors.put(big)
    await vectors.put(ONE)
    assert (await found(vectors, "a", "9")).keys() == {"a", "9"}
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert f"vectors can't be kept in {folder}" in said[0]
    assert "SUPPORT_CACHE_DIR" in said[0]
    assert reason == "a file is in the way" or reason in said[0]
    vectors.release()
    assert await found(vectors, "a") == {}
    if holder:
        holder.close()


_connect = sqlite3.connect


def _small(*arguments: object, **options: object) -> sqlite3.Connection:
    database = _connect(*arguments, **options)  # pyright: ignore[reportArgumentType, reportCallIssue]
    database.execute("PRAGMA max_page_count = 4")
    return database


async def test_the_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were not used for the longest time make room."""
    monkeypatch.setattr(kept, "_LARGEST", 100_000)
    clock = iter(range(1_000_000_000, 2_000_000_000, 100_000))
    monkeypatch.setattr(time, "time", lambda: next(clock))
    vectors = KeptVectors(tmp_path, "one")
    for number in range(60):
        await vectors.put({str(number): [1.0] * 1000})
        await vectors.get(["0"])
    assert (tmp_path / FILE).stat().st_size < 130_000
    assert (await found(vectors, "0", "1", "59")).keys() == {"0", "59"}


def test_where_vectors_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the user's cache folder, unless SUPPORT_CACHE_DIR names another, or none; with Postgres in no file."""

    def file(**variables: str) -> Path | None:
        return kept_vectors(AgentSettings(**variables))._file  # pyright: ignore[reportArgumentType] - an environment's variables

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert file() == tmp_path / "support-agent" / FILE
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert file() == Path("/home/somebody/.cache/support-agent") / FILE
    assert file(SUPPORT_CACHE_DIR="/var/cache/x") == Path("/var/cache/x") / FILE
    assert file(SUPPORT_CACHE_DIR="") is None
    assert file(DATABASE_URL="postgresql://x") is None


async def test_a_server_has_vectors_of_its_own(tmp_path: Path) -> None:
    """Two servers may give one name to different models."""
    here = {"SUPPORT_CACHE_DIR": str(tmp_path)}
    for url in ("http://a.example/v1", "http://b.example/v1"):
        vectors = kept_vectors(AgentSettings(OPENAI_BASE_URL=url, **here))  # pyright: ignore[reportArgumentType] - an environment's variables
        assert await found(vectors, "a") == {}
        await vectors.put(ONE)


WRITER = """
import asyncio, sys
from pathlib import Path
from graph.retrieval.kept import KeptVectors
async def write():
    vectors = KeptVectors(Path(sys.argv[1]), "one")
    for number in range(int(sys.argv[3])):
        await vectors.put({f"{sys.argv[2]}-{number}": [float(number), 1.0]})
        print(number, flush=True)
asyncio.run(write())
"""


def writer(folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), name, str(count)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


async def test_processes_share_the_file_and_a_kill_costs_nothing_kept(tmp_path: Path) -> None:
    """Two write at once; one is killed in the middle, and all that either has put is there."""
    one, other = writer(tmp_path, "one", 100_000), writer(tmp_path, "other", 30)
    assert other.stdout
    assert one.stdout
    assert await asyncio.to_thread(other.wait, 30) == 0
    other.stdout.close()
    one.send_signal(signal.SIGKILL)
    await asyncio.to_thread(one.wait, 10)
    last = int(one.stdout.read().split()[-1])
    one.stdout.close()
    names = [*(f"other-{number}" for number in range(30)), *(f"one-{number}" for number in range(last))]
    assert last > 0
    assert len(await found(KeptVectors(tmp_path, "one"), *names)) == 30 + last
