"""Commands of `support-agent`, each a process of its own: forked from one that has imported everything.

Its imports take a command two seconds, and tests run hundreds of commands. Arguments, environment, directory and output
are the command's own. A variable that Python itself reads at its start needs a process from the beginning.
"""

import atexit
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent
COMMAND = Path(sys.executable).with_name("support-agent")

_SERVER = """\
import atexit, gc, json, os, signal, socket, sys
from importlib import import_module
from pkgutil import walk_packages

import api, cli, graph

for package in (api, cli, graph):
    for module in walk_packages(package.__path__, f"{package.__name__}."):
        import_module(module.name)
from cli import main

gc.freeze()
listener = socket.socket(fileno=int(sys.argv[1]))
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    connection, _ = listener.accept()
    message, outputs, _, _ = socket.recv_fds(connection, 1, 2)
    if os.fork() == 0:
        break
    connection.close()
    for output in outputs:
        os.close(output)
listener.close()
signal.signal(signal.SIGCHLD, signal.SIG_DFL)
while more := connection.recv(1 << 16):
    message += more
if command := os.fork():
    for output in outputs:
        os.close(output)
    connection.sendall(b"%d\\n" % command)
    connection.sendall(b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(command, 0)[1]))
    os._exit(0)
connection.close()
asked = json.loads(message)
for number, output in enumerate(outputs, 1):
    os.dup2(output, number)
    os.close(output)
os.environ.clear()
os.environ.update(asked["environment"])
os.chdir(asked["folder"])
sys.argv[:] = ["support-agent", *asked["arguments"]]
code = 0
try:
    main.main()
except SystemExit as end:
    code = end.code or 0
except BaseException:
    sys.excepthook(*sys.exc_info())
    code = 1
atexit._run_exitfuncs()
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)  # Python would take another two seconds to delete what was imported
"""


class Command(subprocess.Popen[bytes]):
    """A command that runs."""

    def __init__(
        self, arguments: list[str], environment: dict[str, str], folder: Path, output: int, errors: int
    ) -> None:
        """Start it; `output` and `errors` are file descriptors."""
        self.args = arguments
        self.returncode = None
        self.stdin = self.stdout = self.stderr = None
        self._child_created = False  # not by this process
        asked = {"arguments": arguments, "environment": environment, "folder": str(folder)}
        message = json.dumps(asked).encode()
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(_server())
        socket.send_fds(self._connection, [message[:1]], [output, errors])
        self._connection.sendall(message[1:])
        self._connection.shutdown(socket.SHUT_WR)
        self._said = b""
        self.pid = self._number(60)

    def poll(self) -> int | None:
        """Return its exit code, or None while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and return its exit code; raises TimeoutExpired."""
        if self.returncode is None:
            self.returncode = self._number(timeout)
            self._connection.close()
        return self.returncode

    def _number(self, seconds: float | None) -> int:
        give_up = None if seconds is None else time.monotonic() + seconds
        while b"\n" not in self._said:
            left = None if give_up is None else max(give_up - time.monotonic(), 0)
            self._connection.settimeout(left)
            try:
                self._said += self._connection.recv(64)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self.args, seconds or 0) from None
        number, _, self._said = self._said.partition(b"\n")
        return int(number)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository to its end, for a minute at most."""
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complaints:
        variables = {**os.environ, **environment}
        process = Command(list(arguments), variables, REPOSITORY, said.fileno(), complaints.fileno())
        try:
            code = process.wait(60)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            raise
        said.seek(0)
        complaints.seek(0)
        return subprocess.CompletedProcess(arguments, code, said.read().decode(), complaints.read().decode())


@cache
def _server() -> str:
    """Start the process to fork from, and return the address of its socket."""
    folder = tempfile.TemporaryDirectory()
    address = f"{folder.name}/commands"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        command = [sys.executable, "-c", _SERVER, str(listener.fileno())]
        process = subprocess.Popen(command, cwd=REPOSITORY, stdin=subprocess.DEVNULL, pass_fds=[listener.fileno()])

    def end() -> None:
        process.kill()
        process.wait()
        folder.cleanup()

    atexit.register(end)
    return address
