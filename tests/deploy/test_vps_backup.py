"""Backups on a virtual machine: which ones are kept, and what a restore brings back."""

import os
import shutil
import signal
from collections.abc import Generator
from pathlib import Path

import psycopg
import pytest

from harness.docker import World
from harness.programs import program
from harness.servers import redis_8
from harness.vps import Machine
from local.postgres import find_postgres, start_postgres


@pytest.fixture
def databases(machine: Machine) -> Generator[tuple[World, str]]:
    """A Redis with an append-only file and a Postgres for the machine; yields the Postgres URL too."""
    redis_cli = program("redis-cli", package="redis-tools")
    machine.program("redis-cli", f'#!/bin/sh\nexec "{redis_cli}" -p "$REDIS_PORT" "$@"\n')
    machine.program("chown", "#!/bin/sh\n")  # this machine has no user redis
    (machine.programs / "redis-check-aof").symlink_to(redis_8())  # its name selects the tool
    with start_postgres() as server:
        url = server.wait()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE agent")
        for name in ("pg_dump", "pg_restore"):
            environment = f"PGHOST=127.0.0.1 PGPORT={server.port} PGPASSWORD={server.secret}"
            machine.program(name, f'#!/bin/sh\n{environment} exec "{find_postgres() / name}" "$@"\n')
        world = World(machine.folder)
        world.start_redis()
        yield world, f"{url.rsplit('/', 1)[0]}/agent"
        world.stop_redis()


def test_what_was_backed_up_comes_back(machine: Machine, databases: tuple[World, str]) -> None:
    """After total loss, a restore brings back sessions, articles and vectors, and they survive a restart."""
    world, url = databases
    with world.client() as redis, psycopg.connect(url, autocommit=True) as postgres:
        redis.set("turn:1", b"\x93\xc4\x00\xff", ex=1800)
        redis.xadd("run:1", {"event": "{}", "owner": "a"}, id="0-1")
        postgres.execute("CREATE EXTENSION vector")
        postgres.execute("CREATE TABLE store (key text PRIMARY KEY, embedding vector(3))")
        postgres.execute("INSERT INTO store VALUES ('refund-policy', '[1, 2, 3]')")
        done = machine.run("backup.sh")
        assert done.returncode == 0, done.stderr
        assert Path(done.stdout.strip()).stat().st_mode & 0o077 == 0
        redis.flushall()
        redis.set("later", "1")
        postgres.execute("DROP TABLE store")
        postgres.execute("DROP EXTENSION vector")
    restored = machine.run("restore.sh", done.stdout.strip())
    assert restored.returncode == 0, restored.stderr
    with world.client() as redis:
        redis.set("after", "1")
    world.stop_redis()
    world.start_redis()  # restored and later keys are both in the append-only file
    with world.client() as redis, psycopg.connect(url) as postgres:
        assert redis.get("turn:1") == b"\x93\xc4\x00\xff"
        assert 0 < int(str(redis.ttl("turn:1"))) <= 1800
        assert redis.xrange("run:1") == [(b"0-1", {b"event": b"{}", b"owner": b"a"})]
        assert (redis.get("later"), redis.get("after")) == (None, b"1")
        assert postgres.execute("SELECT key, embedding::text FROM store").fetchall() == [("refund-policy", "[1,2,3]")]
    order = [asked for asked in machine.asked() if asked.startswith(("compose stop", "compose up"))]
    assert order[0] == "compose stop api-1 api-2 redis"
    assert order[-1] == "compose up --detach --no-build --wait"


def test_a_restore_that_fails_leaves_what_was_there(machine: Machine, databases: tuple[World, str]) -> None:
    """A truncated backup, or one that only Redis accepts, leaves both databases as they were."""
    world, url = databases
    with world.client() as redis, psycopg.connect(url, autocommit=True) as postgres:
        redis.set("when", "then")
        postgres.execute("CREATE TABLE store AS SELECT 'then' AS key, repeat(md5('a'), 9) FROM generate_series(1, 99)")
        done = machine.run("backup.sh")
        assert done.returncode == 0, done.stderr
        backup = Path(done.stdout.strip())
        redis.set("when", "now")
        postgres.execute("UPDATE store SET key = 'now'")
        postgres.execute("CREATE VIEW needed AS SELECT key FROM store")  # so that the table can't be replaced
        for name in ("redis.rdb", "postgres.dump"):
            cut_off = machine.folder / f"without {name}"
            shutil.copytree(backup, cut_off)
            os.truncate(cut_off / name, (cut_off / name).stat().st_size - 20)
            refused = machine.run("restore.sh", str(cut_off))
            assert refused.returncode == 1
            assert f"{name} can't be restored; nothing was changed" in refused.stderr
        assert not any(asked.startswith(("compose stop", "compose up")) for asked in machine.asked())
    check = 'case "$*" in --file=*) exit ;; esac'
    terminate = f"#!/bin/sh\n{check}\nkill -TERM $(ps -o ppid= -p $PPID)\n"  # the parent of docker is the script
    for pg_restore in (None, terminate):
        if pg_restore:
            machine.program("pg_restore", pg_restore)
        failed = machine.run("restore.sh", str(backup))
        assert failed.returncode == (-signal.SIGTERM if pg_restore else 1)
        assert "not restored; putting the old data back" in failed.stderr
        assert machine.asked()[-1] == "compose up --detach --no-build --wait"
        world.start_redis()
        with world.client() as redis, psycopg.connect(url) as postgres:
            assert redis.get("when") == b"now"
            assert postgres.execute("SELECT DISTINCT key FROM needed").fetchall() == [("now",)]
    assert {file.name for file in (machine.folder / "data").iterdir()} <= {"appendonlydir", "dump.rdb"}


def test_a_copy_with_more_than_a_copy_is_refused(machine: Machine, databases: tuple[World, str]) -> None:
    """A Redis dump with trailing bytes, as redis-cli writes to standard output, is refused."""
    done = machine.run("backup.sh")
    assert done.returncode == 0, done.stderr
    backup = Path(done.stdout.strip())
    with (backup / "redis.rdb").open("ab") as copy:
        copy.write(b"8d4fb5f5081154c6a1f0964c3d8c8d4fb5f50811")
    refused = machine.run("restore.sh", str(backup))
    assert refused.returncode == 1
    assert "redis.rdb can't be restored; nothing was changed" in refused.stderr


def test_restore_refuses_what_is_no_backup(machine: Machine) -> None:
    """An invalid backup is refused before anything is stopped or lost."""
    machine.program("pg_restore", "#!/bin/sh\nexit 1\n")
    (machine.root / "backups/1").mkdir(parents=True)
    (machine.root / "backups/1/redis.rdb").write_text("REDIS0012")
    (machine.root / "backups/1/postgres.dump").write_text("")
    done = machine.run("restore.sh", str(machine.root / "backups/1"))
    assert done.returncode == 1
    assert "postgres.dump can't be restored" in done.stderr
    assert not any(asked.startswith("compose stop") for asked in machine.asked())


@pytest.fixture
def copied(machine: Machine) -> Machine:
    """A machine whose Redis and Postgres can be copied."""
    machine.program("redis-cli", '#!/bin/sh\nprintf REDIS >"$2"\n')
    machine.program("pg_dump", "#!/bin/sh\nprintf PGDMP\n")
    (machine.root / "backups").mkdir()
    return machine


def backups(machine: Machine) -> list[str]:
    return sorted(folder.name for folder in (machine.root / "backups").iterdir())


def test_the_newest_backups_and_one_of_each_day_are_kept(copied: Machine) -> None:
    """It keeps the 24 newest, the first of each of 14 days, and any other file in the folder."""
    for day in range(10, 30):
        for hour in range(24):
            (copied.root / f"backups/202601{day}T{hour:02}4501Z").mkdir()
    (copied.root / "backups/notes").mkdir()
    done = copied.run("backup.sh")
    assert done.returncode == 0, done.stderr
    new = Path(done.stdout.strip()).name
    days = [f"202601{day}T004501Z" for day in range(17, 30)]  # today is the 14th day
    hours = [f"20260129T{hour:02}4501Z" for hour in range(1, 24)]  # the new backup is the 24th
    assert backups(copied) == sorted([*days, *hours, new, "notes"])


def test_a_backup_that_fails_leaves_nothing(copied: Machine) -> None:
    """A failed backup leaves no files, and the next one removes those of a killed one."""
    copied.program("pg_dump", "#!/bin/sh\nexit 1\n")
    (copied.root / "backups/.20260101T000000Z").mkdir()
    assert copied.run("backup.sh").returncode == 1
    assert backups(copied) == []


def test_two_backups_in_one_second(copied: Machine) -> None:
    """The second backup waits for the next second."""
    copied.program(
        "date",
        f"""#!/bin/sh
echo >>"{copied.folder}/dates"
printf '20260101T00000%sZ\\n' "$(($(wc -l <"{copied.folder}/dates") / 3))"
""",
    )
    made = [copied.run("backup.sh").stdout.strip() for _ in range(2)]
    assert made == [str(copied.root / "backups" / name) for name in ("20260101T000000Z", "20260101T000001Z")]
    assert backups(copied) == ["20260101T000000Z", "20260101T000001Z"]
    assert (copied.root / "backups/20260101T000001Z/postgres.dump").read_text() == "PGDMP"
