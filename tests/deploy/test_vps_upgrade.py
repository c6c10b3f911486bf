"""Upgrades on a virtual machine: a rolling update of two replicas, with rollback when the new image fails."""

import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from conftest import REPOSITORY
from harness.planting import plant_in
from harness.vps import NEW, NEW_SERVERS, OLD, OLD_SERVERS, SERVERS_TAG, TAG, VPS, Machine


@pytest.fixture
def without_backup(machine: Machine) -> Machine:
    """A machine with a backup script that does nothing."""
    (machine.root / VPS / "backup.sh").write_text("#!/bin/sh\n")
    return machine


def replicas_started(machine: Machine) -> list[str]:
    return [asked.split()[-1] for asked in machine.asked() if asked.startswith("compose up")]


def test_upgrade_runs_the_digest_one_replica_after_the_other(without_backup: Machine) -> None:
    """Both replicas and `.env` get the digest, one replica at a time."""
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
    """It deletes no volume and no rollback image, builds nothing, and never waits without a time-out."""
    plant_in(without_backup.root / VPS / "upgrade.sh", right, wrong)
    done = without_backup.run("upgrade.sh", TAG)
    assert done.returncode != 0
    assert "docker: the test knows no" in done.stderr


def test_upgrade_goes_back_where_a_replica_is_not_ready(without_backup: Machine) -> None:
    """It rolls back the first replica before touching the second, so one always serves."""
    without_backup.tell(NEW)
    done = without_backup.run("upgrade.sh", TAG)
    assert done.returncode == 1
    assert f"{NEW} is not healthy; rolling back to {OLD}" in done.stderr
    assert without_backup.image() == OLD
    assert without_backup.runs() == [OLD, OLD]
    assert replicas_started(without_backup) == ["api-1", "api-1", "api-2"]


def test_upgrade_says_when_nothing_helps(without_backup: Machine) -> None:
    """It reports that the old image fails too, for example because Redis is down."""
    without_backup.tell(NEW, OLD)
    done = without_backup.run("upgrade.sh", TAG)
    assert done.returncode == 1
    assert f"{OLD} does not become ready either" in done.stderr


def test_upgrade_leaves_what_is_new_enough(without_backup: Machine) -> None:
    """It does nothing when the image is current, so a timer can run it nightly."""
    assert without_backup.run("upgrade.sh", TAG).returncode == 0
    done = without_backup.run("upgrade.sh", TAG)
    assert (done.returncode, done.stdout) == (0, f"{NEW} is already running\n")
    assert replicas_started(without_backup) == ["api-1", "api-2"]


@pytest.mark.parametrize("killed_at", ["api-1", "api-2"])
def test_upgrade_finishes_what_was_killed(without_backup: Machine, killed_at: str) -> None:
    """The next upgrade finishes one that was killed, and the one after it has nothing to do."""
    without_backup.tell(killed_at=killed_at)
    assert without_backup.run("upgrade.sh", TAG).returncode == -signal.SIGKILL
    without_backup.tell()
    done = without_backup.run("upgrade.sh", TAG)
    assert (done.returncode, done.stdout) == (0, f"upgraded from {OLD} to {NEW}\n")
    assert (without_backup.image(), *without_backup.runs()) == (NEW, NEW, NEW)
    assert "is already running" in without_backup.run("upgrade.sh", TAG).stdout


def test_upgrade_starts_what_env_only_claims(without_backup: Machine) -> None:
    """It replaces replicas that still run the old image although `.env` has the new one."""
    without_backup.set(AGENT_IMAGE=NEW)
    assert without_backup.run("upgrade.sh", TAG).returncode == 0
    assert without_backup.runs() == [NEW, NEW]


@pytest.mark.parametrize(("writes", "runs"), [(0, OLD), (1, NEW)])
def test_upgrade_says_where_env_cannot_be_written(without_backup: Machine, writes: int, runs: str) -> None:
    """It fails before changing anything, or once the new image runs; the next upgrade completes."""
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
    """It rolls back to the running image's digest, since the tag now names the broken image."""
    without_backup.replicas_run(TAG)
    without_backup.tell(NEW)
    done = without_backup.run("upgrade.sh", TAG)
    assert done.returncode == 1
    assert f"rolling back to {OLD}" in done.stderr
    assert (without_backup.image(), *without_backup.runs()) == (OLD, OLD, OLD)


def test_upgrade_goes_back_where_a_replica_only_lives(without_backup: Machine) -> None:
    """A replica that is healthy but never ready is rolled back, and the second is not replaced."""
    without_backup.tell(not_ready=[NEW])
    done = without_backup.run("upgrade.sh", TAG)
    assert done.returncode == 1
    assert "api-1 is not ready" in done.stderr
    assert (without_backup.image(), *without_backup.runs()) == (OLD, OLD, OLD)
    assert replicas_started(without_backup) == ["api-1", "api-1", "api-2"]


@pytest.mark.parametrize(("status", "said"), [(200, ""), (503, "no Redis")])
def test_what_upgrade_asks_of_a_replica(status: int, said: str) -> None:
    """It asks /ready, and passes on the reason when that is not 200."""

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
    """The failed replica is rolled back first, and keeps the new image if the old one fails too."""
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
    """With SMOKE_KEY it runs the smoke test and rolls back on failure; the key is in no argument or file left."""
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
    """Nothing changes when the backup of Redis fails."""
    done = machine.run("upgrade.sh", TAG)
    assert done.returncode != 0
    assert machine.image() == OLD
    assert replicas_started(machine) == []
    assert not list((machine.root / "backups").iterdir())


@pytest.mark.parametrize("written", ['"{}"', "'{}' # pinned", "{} # pinned", "{}\t"])
def test_settings_may_be_quoted(without_backup: Machine, written: str) -> None:
    """Values in `.env` may have quotes and comments, as in Compose; rollback works all the same."""
    without_backup.set(AGENT_IMAGE=written.format(OLD))
    without_backup.tell(NEW)
    assert without_backup.run("upgrade.sh", TAG).returncode == 1
    assert without_backup.runs() == [OLD, OLD]
    assert without_backup.image() == OLD


def test_env_may_lie_elsewhere(without_backup: Machine) -> None:
    """A symbolic link to `.env` stays a link."""
    env, elsewhere = without_backup.root / ".env", without_backup.folder / "production.env"
    env.rename(elsewhere)
    env.symlink_to(elsewhere)
    assert without_backup.run("upgrade.sh", TAG).returncode == 0
    assert env.is_symlink()
    assert without_backup.image() == NEW


@pytest.mark.parametrize("named", [OLD_SERVERS, SERVERS_TAG])
def test_upgrade_takes_the_servers_along(without_backup: Machine, named: str) -> None:
    """After the replicas, each by its digest; then there is nothing to do, and without their image they stay."""
    without_backup.servers_run(named)
    done = without_backup.run("upgrade.sh", TAG, SERVERS_TAG)
    assert (done.returncode, done.stdout) == (0, f"upgraded from {OLD} {OLD_SERVERS} to {NEW} {NEW_SERVERS}\n"), (
        done.stderr
    )
    assert without_backup.runs() == [NEW, NEW, NEW_SERVERS, NEW_SERVERS]
    assert replicas_started(without_backup) == ["api-1", "api-2", "mcp-email", "mcp-calendar"]
    assert f"SERVERS_IMAGE={NEW_SERVERS}\n" in (without_backup.root / ".env").read_text()
    again = without_backup.run("upgrade.sh", TAG, SERVERS_TAG)
    assert (again.returncode, again.stdout) == (0, f"{NEW} with {NEW_SERVERS} is already running\n")
    assert "is already running" in without_backup.run("upgrade.sh", TAG).stdout
    back = without_backup.run("upgrade.sh", OLD, OLD_SERVERS)
    assert back.returncode == 0, back.stderr
    assert without_backup.runs() == [OLD, OLD, OLD_SERVERS, OLD_SERVERS]


def test_upgrade_goes_back_where_a_server_is_not_healthy(without_backup: Machine) -> None:
    """Replicas and servers run what they ran before."""
    without_backup.servers_run()
    without_backup.tell(f"{NEW_SERVERS} mcp-calendar")
    done = without_backup.run("upgrade.sh", TAG, SERVERS_TAG)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{NEW} with {NEW_SERVERS} is not healthy; rolling back to {OLD} with {OLD_SERVERS}" in done.stderr
    assert without_backup.runs() == [OLD, OLD, OLD_SERVERS, OLD_SERVERS]
    assert f"SERVERS_IMAGE={OLD_SERVERS}\n" in (without_backup.root / ".env").read_text()
    assert without_backup.image() == OLD


def test_upgrade_finds_no_server_that_does_not_run(without_backup: Machine) -> None:
    """It says so, and changes nothing."""
    done = without_backup.run("upgrade.sh", TAG, SERVERS_TAG)
    assert (done.returncode, done.stderr) == (1, "neither the e-mail nor the calendar server is running\n")
    assert (without_backup.image(), replicas_started(without_backup)) == (OLD, [])
