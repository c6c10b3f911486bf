"""A machine of one's own: its compose file and its scripts, on a `docker` that has this machine do the work."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from conftest import REPOSITORY
from harness.docker import PASSWORD, World
from harness.planting import plant_in
from harness.programs import program
from local.postgres import find_postgres, start_postgres
from local.process import free_port
from local.redis import find_redis

VPS = Path("deploy/vps")
SCRIPTS = ("upgrade.sh", "backup.sh", "restore.sh")
OLD, NEW = "ghcr.io/example/support-agent@sha256:old", "ghcr.io/example/support-agent@sha256:new"
TAG = "ghcr.io/example/support-agent:stable"


class Machine:
    """A checkout with `.env`, and a `docker`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "checkout"
        shutil.copytree(REPOSITORY / VPS, self.root / VPS)
        (self.root / ".env").write_text(f"OPENAI_API_KEY=sk-none\nAGENT_IMAGE={OLD}\nSUPPORT_DOMAIN=example.com\n")
        self.programs = folder / "programs"
        self.programs.mkdir()
        self.program("docker", f'#!/bin/sh\nexec "{sys.executable}" "{REPOSITORY}/tests/harness/docker.py" "$@"\n')
        self.port = free_port()
        (folder / "data").mkdir()
        (folder / "password").write_text(PASSWORD)
        self.program("sleep", "#!/bin/sh\n")
        self.replicas_run(OLD)
        self.tell()

    def program(self, name: str, text: str) -> None:
        """Put a program on the path."""
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def replicas_run(self, name: str) -> None:
        """Have both replicas run the old image, under this name."""
        replicas = {replica: {"name": name, "image": OLD} for replica in ("api-1", "api-2")}
        (self.folder / "state.json").write_text(json.dumps({"images": {name: OLD}, "replicas": replicas}))
        self.set(AGENT_IMAGE=name)

    def set(self, **settings: str) -> None:
        """Write settings into `.env`, in place of what it has of that name."""
        kept = (line for line in (self.root / ".env").read_text().splitlines() if line.split("=")[0] not in settings)
        lines = [*kept, *(f"{name}={value}" for name, value in settings.items())]
        (self.root / ".env").write_text("\n".join(lines) + "\n")

    def tell(self, *unhealthy: str, not_ready: Sequence[str] = (), killed_at: str = "") -> None:
        """Say which images, or "IMAGE REPLICA", are broken, and at the start of which replica the script is killed."""
        redis = find_redis()
        told = {
            "registry": {TAG: NEW},
            "unhealthy": unhealthy,
            "not ready": not_ready,
            "killed at": killed_at,
            "redis": [str(redis.server), *(word for file in redis.modules for word in ("--loadmodule", str(file)))],
            "port": self.port,
            "data": str(self.folder / "data"),
            "password file": str(self.folder / "password"),
            "programs": str(self.programs),
        }
        (self.folder / "world.json").write_text(json.dumps(told))

    def run(self, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of the scripts."""
        environment = {
            **os.environ,
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "FAKE_DOCKER": str(self.folder),
            "REDIS_PORT": str(self.port),
        }
        command = [self.root / VPS / script, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    def asked(self) -> list[str]:
        """Return what `docker` was asked."""
        return (self.folder / "asked").read_text().splitlines()

    def image(self) -> str:
        """Return what `.env` says that runs."""
        return (self.root / ".env").read_text().split("AGENT_IMAGE=")[1].split("\n")[0]

    def runs(self) -> list[str]:
        """Return the image of each replica."""
        return [
            replica["image"] for replica in json.loads((self.folder / "state.json").read_text())["replicas"].values()
        ]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "machine")


@pytest.fixture
def without_backup(machine: Machine) -> Machine:
    """A machine whose backups are none of the test's business."""
    (machine.root / VPS / "backup.sh").write_text("#!/bin/sh\n")
    return machine


def replicas_started(machine: Machine) -> list[str]:
    return [asked.split()[-1] for asked in machine.asked() if asked.startswith("compose up")]


# What shellcheck and the parser say


def check(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run one of the tools that are installed with the tests."""
    command = [Path(sys.executable).with_name(name), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_shellcheck_finds_nothing() -> None:
    """In any of the scripts of the project; those of a VPS can all be run."""
    own = sorted((REPOSITORY / VPS).glob("*.sh"))
    assert {script.name for script in own} == set(SCRIPTS)
    scripts = [*own, *(REPOSITORY / "deploy/compose").glob("*.sh"), *(REPOSITORY / ".github/scripts").rglob("*.sh")]
    found = check("shellcheck", *scripts)
    assert found.returncode == 0, found.stdout
    assert all(os.access(script, os.X_OK) for script in own)


def test_shellcheck_finds_what_is_unsafe(tmp_path: Path) -> None:
    """A folder's name that is taken apart at its spaces."""
    text = (REPOSITORY / VPS / "backup.sh").read_text()
    assert 'mv "$folder/.$name"' in text
    (tmp_path / "backup.sh").write_text(text.replace('mv "$folder/.$name"', "mv $folder/.$name"))
    assert "SC2086" in check("shellcheck", tmp_path / "backup.sh").stdout


@pytest.mark.parametrize(("right", "wrong", "status"), [("image:", "image:", 0), ("image:", "imag:", 1)])
def test_the_schema_of_compose_knows_a_mistake(tmp_path: Path, right: str, wrong: str, status: int) -> None:
    """It accepts the override as it is, and no key that is none."""
    text = (REPOSITORY / VPS / "compose.yaml").read_text()
    assert right in text
    (tmp_path / "compose.yaml").write_text(text.replace(right, wrong, 1))
    checked = check("check-jsonschema", "--builtin-schema", "vendor.compose-spec", tmp_path / "compose.yaml")
    assert checked.returncode == status, checked.stdout


def test_the_override_names_services_that_there_are() -> None:
    """It replaces the image of both replicas, lets no stranger in, and asks for a name with a certificate."""
    override = yaml.safe_load((REPOSITORY / VPS / "compose.yaml").read_text())["services"]
    assert override.keys() == {"api-1", "api-2", "caddy"}
    for name in ("api-1", "api-2"):
        assert override[name]["image"].startswith("${AGENT_IMAGE:?")
        assert override[name]["environment"]["SUPPORT_ALLOW_ANONYMOUS"] == "false"
        assert override[name]["environment"]["SUPPORT_API_KEYS"].startswith("${SUPPORT_API_KEYS:?")
    assert override["caddy"]["environment"]["SUPPORT_DOMAIN"].startswith("${SUPPORT_DOMAIN:?")


# Upgrades


def test_upgrade_runs_the_digest_one_replica_after_the_other(without_backup: Machine) -> None:
    """And `.env` says so, for whatever starts them next."""
    done = without_backup.run("upgrade.sh", TAG)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"upgraded from {OLD} to {NEW}\n"
    assert without_backup.image() == NEW
    assert without_backup.runs() == [NEW, NEW]
    assert replicas_started(without_backup) == ["api-1", "api-2"]
    assert f"pull --quiet {TAG}" in without_backup.asked()
    assert all("--no-deps --wait" in asked for asked in without_backup.asked() if asked.startswith("compose up"))
    assert without_backup.asked()[-1] == "image prune --force"


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("docker image prune --force", "docker system prune --all --volumes --force"),
        ("docker image prune --force", "docker image prune --all --force"),
        ("--wait --wait-timeout 180", "--wait"),
        (" --no-build", ""),
        (" --no-deps", ""),
    ],
)
def test_upgrade_asks_docker_for_nothing_else(without_backup: Machine, right: str, wrong: str) -> None:
    """Volumes and images to go back to are left alone, nothing is built, and nobody waits for ever."""
    plant_in(without_backup.root / VPS / "upgrade.sh", right, wrong)
    done = without_backup.run("upgrade.sh", TAG)
    assert done.returncode != 0
    assert "docker: the test knows no" in done.stderr


def test_upgrade_goes_back_where_a_replica_is_not_ready(without_backup: Machine) -> None:
    """The second one is left as it was until then, so one always serves."""
    without_backup.tell(NEW)
    done = without_backup.run("upgrade.sh", TAG)
    assert done.returncode == 1
    assert f"{NEW} does not serve; going back to {OLD}" in done.stderr
    assert without_backup.image() == OLD
    assert without_backup.runs() == [OLD, OLD]
    assert replicas_started(without_backup) == ["api-1", "api-1", "api-2"]


def test_upgrade_says_when_nothing_helps(without_backup: Machine) -> None:
    """As when it is not the image, but Redis, that is broken."""
    without_backup.tell(NEW, OLD)
    done = without_backup.run("upgrade.sh", TAG)
    assert done.returncode == 1
    assert f"{OLD} does not become ready either" in done.stderr


def test_upgrade_leaves_what_is_new_enough(without_backup: Machine) -> None:
    """A timer may run it every night."""
    assert without_backup.run("upgrade.sh", TAG).returncode == 0
    done = without_backup.run("upgrade.sh", TAG)
    assert (done.returncode, done.stdout) == (0, f"{NEW} runs already\n")
    assert replicas_started(without_backup) == ["api-1", "api-2"]


@pytest.mark.parametrize("killed_at", ["api-1", "api-2"])
def test_upgrade_finishes_what_was_killed(without_backup: Machine, killed_at: str) -> None:
    """The next one does, and only the one after that has nothing to do."""
    without_backup.tell(killed_at=killed_at)
    assert without_backup.run("upgrade.sh", TAG).returncode == -signal.SIGKILL
    without_backup.tell()
    done = without_backup.run("upgrade.sh", TAG)
    assert (done.returncode, done.stdout) == (0, f"upgraded from {OLD} to {NEW}\n")
    assert (without_backup.image(), *without_backup.runs()) == (NEW, NEW, NEW)
    assert "runs already" in without_backup.run("upgrade.sh", TAG).stdout


def test_upgrade_starts_what_env_only_claims(without_backup: Machine) -> None:
    """`.env` names the new image, and the replicas run the old one."""
    without_backup.set(AGENT_IMAGE=NEW)
    assert without_backup.run("upgrade.sh", TAG).returncode == 0
    assert without_backup.runs() == [NEW, NEW]


@pytest.mark.parametrize(("writes", "runs"), [(0, OLD), (1, NEW)])
def test_upgrade_says_where_env_cannot_be_written(without_backup: Machine, writes: int, runs: str) -> None:
    """Before anything is changed; where that comes later the new image runs, and the next upgrade is not in vain."""
    full = without_backup.folder / "full"
    without_backup.program(
        "sed",
        f"""#!/bin/sh
if [ "$1" = -i ]; then
    echo >>"{full}"
    [ "$(wc -l <"{full}")" -le {writes} ] || {{ echo "sed: No space left on device" >&2; exit 4; }}
fi
exec /bin/sed "$@"
""",
    )
    done = without_backup.run("upgrade.sh", TAG)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"can't write AGENT_IMAGE={runs} into .env" in done.stderr
    assert (without_backup.image(), *without_backup.runs()) == (OLD, runs, runs)
    (without_backup.programs / "sed").unlink()
    assert without_backup.run("upgrade.sh", TAG).returncode == 0
    assert (without_backup.image(), *without_backup.runs()) == (NEW, NEW, NEW)


def test_upgrade_goes_back_to_what_ran_where_the_tag_has_moved(without_backup: Machine) -> None:
    """Both replicas were started from the tag, which is the broken image's once it was pulled."""
    without_backup.replicas_run(TAG)
    without_backup.tell(NEW)
    done = without_backup.run("upgrade.sh", TAG)
    assert done.returncode == 1
    assert f"going back to {OLD}" in done.stderr
    assert (without_backup.image(), *without_backup.runs()) == (OLD, OLD, OLD)


def test_upgrade_goes_back_where_a_replica_only_lives(without_backup: Machine) -> None:
    """It is healthy, and never ready; the second one is not replaced."""
    without_backup.tell(not_ready=[NEW])
    done = without_backup.run("upgrade.sh", TAG)
    assert done.returncode == 1
    assert "api-1 is not ready" in done.stderr
    assert (without_backup.image(), *without_backup.runs()) == (OLD, OLD, OLD)
    assert replicas_started(without_backup) == ["api-1", "api-1", "api-2"]


@pytest.mark.parametrize(("status", "said"), [(200, ""), (503, "no Redis")])
def test_what_upgrade_asks_of_a_replica(status: int, said: str) -> None:
    """Whether it is ready, and it passes on why it is not."""

    class Replica(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/ready" else 404)
            self.end_headers()
            self.wfile.write(b"no Redis")

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    program = (REPOSITORY / VPS / "upgrade.sh").read_text().split("python -I -c '")[1].split("'")[0]
    with HTTPServer(("127.0.0.1", 0), Replica) as server:
        answering = threading.Thread(target=server.handle_request)
        answering.start()
        command = [sys.executable, "-I", "-c", program.replace("8000", str(server.server_port))]
        asked = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        answering.join()
    assert (asked.returncode, asked.stderr.strip()) == (int(status != 200), said)


def test_upgrade_first_brings_back_the_replica_that_does_not_serve(without_backup: Machine) -> None:
    """Meanwhile the other one goes on, and it keeps the new image where the old one does not serve either."""
    without_backup.tell(not_ready=[f"{NEW} api-2"])
    assert without_backup.run("upgrade.sh", TAG).returncode == 1
    assert replicas_started(without_backup) == ["api-1", "api-2", "api-2", "api-1"]
    assert without_backup.runs() == [OLD, OLD]
    without_backup.tell(not_ready=[f"{NEW} api-2", OLD])
    assert without_backup.run("upgrade.sh", TAG).returncode == 1
    assert without_backup.runs() == [NEW, OLD]


@pytest.mark.parametrize(("accepted", "status", "runs"), [("sk-smoke", 0, NEW), ("another", 1, OLD)])
def test_upgrade_asks_each_replica_where_it_has_a_key(
    without_backup: Machine, accepted: str, status: int, runs: str
) -> None:
    """And goes back where it gets no answer; the key is in nobody's arguments, and nowhere afterwards."""
    without_backup.set(SMOKE_KEY="sk-smoke")
    without_backup.program(
        "python",
        f"""#!/bin/sh
[ "$1 $2 $3" = "deploy/smoke.py http://127.0.0.1:8000 --key-file" ] && [ "$(cat "$4")" = {accepted} ]
""",
    )
    assert without_backup.run("upgrade.sh", TAG).returncode == status
    assert without_backup.runs() == [runs, runs]
    assert not any("sk-smoke" in asked for asked in without_backup.asked())
    assert not (without_backup.folder / "key").exists()


def test_upgrade_goes_no_further_without_a_backup(machine: Machine) -> None:
    """Nothing is changed where Redis can't be copied."""
    done = machine.run("upgrade.sh", TAG)
    assert done.returncode != 0
    assert machine.image() == OLD
    assert replicas_started(machine) == []
    assert not list((machine.root / "backups").iterdir())


@pytest.mark.parametrize("arguments", [("upgrade.sh", TAG), ("backup.sh",), ("restore.sh", "/")])
def test_one_at_a_time(machine: Machine, arguments: tuple[str, ...]) -> None:
    """Each of the scripts leaves a machine alone on which one is under way."""
    with (machine.root / ".vps.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = machine.run(*arguments)
    assert done.returncode == 1
    assert "a backup, an upgrade or a restore is under way" in done.stderr
    assert not (machine.folder / "asked").exists()


@pytest.mark.parametrize("written", ['"{}"', "'{}' # pinned", "{} # pinned", "{}\t"])
def test_settings_may_be_quoted(without_backup: Machine, written: str) -> None:
    """Or have a comment, as Compose takes them; what is refused goes back to the image all the same."""
    without_backup.set(AGENT_IMAGE=written.format(OLD))
    without_backup.tell(NEW)
    assert without_backup.run("upgrade.sh", TAG).returncode == 1
    assert without_backup.runs() == [OLD, OLD]
    assert without_backup.image() == OLD


def test_env_may_lie_elsewhere(without_backup: Machine) -> None:
    """A link to it stays one."""
    env, elsewhere = without_backup.root / ".env", without_backup.folder / "production.env"
    env.rename(elsewhere)
    env.symlink_to(elsewhere)
    assert without_backup.run("upgrade.sh", TAG).returncode == 0
    assert env.is_symlink()
    assert without_backup.image() == NEW


# Backup and restore


@pytest.fixture
def databases(machine: Machine) -> Generator[tuple[World, str]]:
    """A Redis with an append-only file and a Postgres, as the machine's containers; the URL of the latter."""
    redis_cli = program("redis-cli", package="redis-tools")
    machine.program("redis-cli", f'#!/bin/sh\nexec "{redis_cli}" -p "$REDIS_PORT" "$@"\n')
    machine.program("chown", "#!/bin/sh\n")  # there is no user redis here
    (machine.programs / "redis-check-aof").symlink_to(find_redis().server)  # it is what it is called
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
    """Conversations with their index, and articles with their vectors, after all of it was lost, and for good."""
    world, url = databases
    with world.client() as redis, psycopg.connect(url, autocommit=True) as postgres:
        redis.execute_command("JSON.SET", "checkpoint:1", "$", '{"thread": "a"}')
        index = ("ON", "JSON", "PREFIX", "1", "checkpoint:", "SCHEMA", "$.thread", "AS", "thread", "TAG")
        redis.execute_command("FT.CREATE", "checkpoints", *index)
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
    world.start_redis()  # what came back is in the append-only file, and so is what came after
    with world.client() as redis, psycopg.connect(url) as postgres:
        assert redis.execute_command("JSON.GET", "checkpoint:1") == b'{"thread":"a"}'
        found: Any = redis.ft("checkpoints").search("@thread:{a}")
        assert found.total == 1
        assert (redis.get("later"), redis.get("after")) == (None, b"1")
        assert postgres.execute("SELECT key, embedding::text FROM store").fetchall() == [("refund-policy", "[1,2,3]")]
    order = [asked for asked in machine.asked() if asked.startswith(("compose stop", "compose up"))]
    assert order[0] == "compose stop api-1 api-2 redis"
    assert order[-1] == "compose up --detach --no-build --wait"


def test_a_restore_that_fails_leaves_what_was_there(machine: Machine, databases: tuple[World, str]) -> None:
    """Of a backup that was cut off nothing is restored, nor is the half that Redis takes and Postgres does not."""
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
    terminate = f"#!/bin/sh\n{check}\nkill -TERM $(ps -o ppid= -p $PPID)\n"  # docker's parent, which is the script
    for pg_restore in (None, terminate):
        if pg_restore:
            machine.program("pg_restore", pg_restore)
        failed = machine.run("restore.sh", str(backup))
        assert failed.returncode == (-signal.SIGTERM if pg_restore else 1)
        assert "not restored; going back to what was there" in failed.stderr
        assert machine.asked()[-1] == "compose up --detach --no-build --wait"
        world.start_redis()
        with world.client() as redis, psycopg.connect(url) as postgres:
            assert redis.get("when") == b"now"
            assert postgres.execute("SELECT DISTINCT key FROM needed").fetchall() == [("now",)]
    assert {file.name for file in (machine.folder / "data").iterdir()} <= {"appendonlydir", "dump.rdb"}


def test_a_copy_with_more_than_a_copy_is_refused(machine: Machine, databases: tuple[World, str]) -> None:
    """Redis would not load what redis-cli writes to standard output, with its mark at the end."""
    done = machine.run("backup.sh")
    assert done.returncode == 0, done.stderr
    backup = Path(done.stdout.strip())
    with (backup / "redis.rdb").open("ab") as copy:
        copy.write(b"8d4fb5f5081154c6a1f0964c3d8c8d4fb5f50811")
    refused = machine.run("restore.sh", str(backup))
    assert refused.returncode == 1
    assert "redis.rdb can't be restored; nothing was changed" in refused.stderr


def test_restore_refuses_what_is_no_backup(machine: Machine) -> None:
    """Before anything is stopped or lost."""
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
    """Hourly ones: twenty-four, the first of each of fourteen days, and whatever else is in the folder."""
    for day in range(10, 30):
        for hour in range(24):
            (copied.root / f"backups/202601{day}T{hour:02}4501Z").mkdir()
    (copied.root / "backups/notes").mkdir()
    done = copied.run("backup.sh")
    assert done.returncode == 0, done.stderr
    new = Path(done.stdout.strip()).name
    days = [f"202601{day}T004501Z" for day in range(17, 30)]  # today is the fourteenth
    hours = [f"20260129T{hour:02}4501Z" for hour in range(1, 24)]  # and its backup the twenty-fourth
    assert backups(copied) == sorted([*days, *hours, new, "notes"])


def test_a_backup_that_fails_leaves_nothing(copied: Machine) -> None:
    """Nor does one that was killed, once there is another."""
    copied.program("pg_dump", "#!/bin/sh\nexit 1\n")
    (copied.root / "backups/.20260101T000000Z").mkdir()
    assert copied.run("backup.sh").returncode == 1
    assert backups(copied) == []


def test_two_backups_in_one_second(copied: Machine) -> None:
    """The second one waits for the next."""
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
