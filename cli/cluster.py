"""`support-agent cluster`: two replicas behind Caddy, as docker-compose.yml wires them, without Docker."""

import asyncio
import json
import logging
import socket
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from rich.console import Console
from rich.table import Table

from api.settings import ServiceSettings
from cli.embedded import embedded
from cli.serve import Port, check_free
from cli.servers import start_servers
from graph import __version__
from graph.errors import SettingsError
from local.caddy import find_caddy, start_caddy
from local.process import LocalServiceError, Program, Service, answers

_CADDYFILE = Path("deploy/caddy/Caddyfile")
_HOST = "127.0.0.1"
_REPLICAS = 2
_START = 90  # seconds until a replica answers, which may wait a minute for its index
_STUCK = 60  # seconds without progress after which replicas that are not ready are given up
_INDEXING = 330  # the same while articles are indexed, one request of which may take 300
_LOOK = 0.2  # seconds between two looks at what runs
_ANSWER = 5.0  # seconds that a replica may take to answer
_AGAIN = 2.0  # seconds after a start within which the same is not started once more


def cluster(
    port: Port = None,
) -> None:
    """Serve with two replicas behind Caddy, starting what is not configured; what dies is started again."""
    settings = ServiceSettings.load()
    port = port or settings.port
    find_caddy()
    if not _CADDYFILE.exists():
        raise SettingsError(f"there is no {_CADDYFILE} here; run this in the project's folder")
    check_free(_HOST, port)
    if settings.redis_url:
        asyncio.run(_reach_redis(settings))
    with _held(port), embedded(settings, redis=True, replicas=True) as started, ExitStack() as stack:
        servers = start_servers()
        for server in servers:
            stack.callback(server.stop)
        started.wait()
        for server in servers:
            server.wait()
        ServiceSettings.load().require_service()
        replicas = [Service(_replica(number)) for number in range(1, _REPLICAS + 1)]
        stack.callback(_stop_all, replicas)
        for replica in replicas:
            replica.wait(_START)
        _wait_until_ready(replicas)
        caddy = start_caddy(_CADDYFILE, port, _proxied(replicas, port))
        stack.callback(_drain_before, caddy, replicas)
        caddy.wait()
        services = [*started.services, *servers, *replicas, caddy]
        _say(services, caddy.url)
        started_at = dict.fromkeys(services, 0.0)
        while True:
            time.sleep(_LOOK)  # nothing in the library waits for whichever of several processes ends first
            for service in services:
                if time.monotonic() - started_at[service] < _AGAIN:
                    continue
                if (code := service.revive()) is not None:
                    started_at[service] = time.monotonic()
                    says = f"{service.name} ended with {code}, and is started again (log: {service.log})"
                    print(says, file=sys.stderr, flush=True)


def _held(port: int) -> socket.socket:
    """Keep other clusters off this port for as long as the socket is open.

    Two Caddys that start at the same moment would share it (SO_REUSEPORT). A name in Linux's abstract namespace goes
    with the process that has it; elsewhere there is none.
    """
    name = socket.socket(socket.AF_UNIX)
    try:
        if sys.platform == "linux":
            name.bind(f"\0support-agent-cluster-{port}")
    except OSError:
        name.close()
        raise SettingsError(f"can't listen on {_HOST}:{port}: another cluster does; choose another --port") from None
    return name


async def _reach_redis(settings: ServiceSettings) -> None:
    """Raise SettingsError, with what would mend it, where replicas would wait for their Redis."""
    from graph.health import check_redis
    from graph.redis import open_redis

    logging.disable(logging.WARNING)  # what is said below
    async with open_redis(settings) as redis:
        check = await check_redis(redis)
    logging.disable(logging.NOTSET)
    if not check.up:
        raise SettingsError(f"Redis {check.reason}; {check.remedy}")


def _wait_until_ready(replicas: Sequence[Service]) -> None:
    """Wait for replicas while any of them makes progress, and print what they wait for; raises LocalServiceError.

    One of them may index the articles, while the others only wait for it.
    """
    said: dict[str, str] = {}
    since = time.monotonic()
    waiting = list(replicas)
    while waiting:
        for replica in tuple(waiting):
            waits_for = _unready(replica)
            if waits_for is None:
                waiting.remove(replica)
                said.pop(replica.name, None)
                since = time.monotonic()
            elif waits_for != said.get(replica.name):
                print(f"{replica.name}: {waits_for}", file=sys.stderr, flush=True)
                said[replica.name], since = waits_for, time.monotonic()
        patience = _INDEXING if any("passages are indexed" in reason for reason in said.values()) else _STUCK
        if waiting and time.monotonic() - since > patience:
            first = waiting[0]
            raise LocalServiceError(f"{first.name} is not ready: {said[first.name]} (log: {first.log})")
        time.sleep(_LOOK)  # /ready is asked, since no child tells when it has started


def _unready(replica: Service) -> str | None:
    """Return what a replica waits for; None once it is ready."""
    try:
        with urlopen(f"{replica.url}/ready", timeout=_ANSWER):  # noqa: S310 - our own child's address
            return None
    except HTTPError as error:
        checks = json.load(error).get("checks", {})
        reasons = [f"{name}: {check.get('reason')}" for name, check in checks.items() if not check["up"]]
        return "; ".join(reasons) or f"GET /ready answers {error.code}"
    except OSError as error:
        return f"GET /ready fails: {type(error).__name__}"


def _replica(number: int) -> Program:
    return Program(
        name=f"Replica {number}",
        # -P: what lies in the working directory must not replace a module.
        command=lambda _, port: [
            *(sys.executable, "-P", "-m", "cli.main"),
            *("serve", "--host", _HOST, "--port", str(port)),
        ],
        check=answers,
        url=f"http://{_HOST}:{{port}}",
        # Caddy's is the only address that it hears from, and it asks /ready twice a second.
        environment={"SUPPORT_TRUSTED_PROXIES": _HOST, "SUPPORT_SHUTDOWN_NOTICE": "1.5"},
    )


def _proxied(replicas: Sequence[Service], port: int) -> dict[str, str]:
    """Return what the Caddyfile's placeholders stand for."""
    return {
        "SUPPORT_DOMAIN": f":{port}",
        "SUPPORT_BIND": _HOST,
        "SUPPORT_REPLICAS": " ".join(replica.url.removeprefix("http://") for replica in replicas),
    }


def _drain_before(caddy: Service, replicas: Sequence[Service]) -> None:
    """End the replicas while Caddy still hands on what they have to say, and Caddy then."""
    _stop_all(replicas)
    caddy.stop()


def _stop_all(services: Sequence[Service]) -> None:
    with ThreadPoolExecutor(len(services)) as pool:
        list(pool.map(Service.stop, services))


def _say(services: Sequence[Service], address: str) -> None:
    """Print what runs, so that it can be watched, or killed to see what happens."""
    table = Table.grid(padding=(0, 2))
    for service in services:
        table.add_row(service.name, f"port {service.port}", f"pid {service.pid}", str(service.log))
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"support-agent {__version__}, {_REPLICAS} replicas behind Caddy on {address}")
    console.print(table)
