"""What is wrong with Redis: the kinds of its errors, what each means, and what mends it."""

import logging
import math
import re
import socket
import ssl
import time
from dataclasses import dataclass

from redis.exceptions import (
    ConnectionError,  # noqa: A004 - Redis' own
    InvalidResponse,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - Redis' own
)

from graph.connection import HAS_EXPIRED, IS_FOR_ANOTHER_NAME, causes, names_no_certificates
from graph.observe.metrics import redis_errors

ACL_LIST = "docs/deploy.md lists the commands and keys that the user needs"

_AWAY = 60.0  # seconds without an error of a kind, after which the next one is news again
_CODE = re.compile(r"(?:^|caused error: \(['\"]|because of: )([A-Z]{2,})\b")  # also in a pipeline, or a transaction
_COMMAND = re.compile(r"run the '([a-z|]+)' command|unknown command '([A-Za-z]+)")
_EXPECTED = frozenset({"BUSYGROUP", "NOGROUP", "NOSCRIPT"})  # answers that the service reckons with

_CLUSTER = (
    "runs in cluster mode, or spreads its keys over several shards, which is not supported",
    "use a Redis with cluster mode off and one shard; at Azure, choose the clustering policy Non-clustered",
)
_LOGIN = ("refused the login", "correct its user or password")
_PRIMARY = "set REDIS_URL to the address of the primary"
_VERSION = "use Redis 7.2 or Valkey 8, or later, in which no command that docs/deploy.md lists is renamed"
_MEANINGS = {
    "ASK": _CLUSTER,
    "BUSY": ("is held up by somebody's script", "end it with SCRIPT KILL"),
    "CLUSTERDOWN": _CLUSTER,
    "CROSSSLOT": _CLUSTER,
    "DENIED": (
        "is in protected mode, in which it accepts no other machines",
        "give it a password, also in REDIS_URL; or set its protected-mode to no where only friends can reach it",
    ),
    "DBINDEX": ("does not have the database that REDIS_URL names", "end REDIS_URL with /0"),
    "ERR": ("refuses a command that a turn needs", _VERSION),
    "LOADING": ("is loading its data", "wait until it has"),
    "MASTERDOWN": ("is a replica that has lost its primary", _PRIMARY),
    "MAXCLIENTS": ("takes no more connections", "raise its maxclients, or lower SUPPORT_REDIS_CONNECTIONS"),
    "MISCONF": ("can't save to its disk, and so refuses writes", "free disk space; its own log has the reason"),
    "MOVED": _CLUSTER,
    "NOAUTH": _LOGIN,
    "NOPERM": ("refuses its user a command or a key", ACL_LIST),
    "NOREPLICAS": ("has too few replicas, and so refuses writes", "start them, or lower min-replicas-to-write"),
    "OOM": (
        "is full",
        "raise its maxmemory, or lower SUPPORT_RATABLE_ANSWERS, SUPPORT_SESSION_TTL and SUPPORT_CACHE_TTL",
    ),
    "READONLY": ("is a read-only replica", _PRIMARY),
    "SENTINEL": ("is a Sentinel, which keeps no data", _PRIMARY),
    "TRYAGAIN": _CLUSTER,
    "UNKNOWN": ("does not know a command that a turn needs", _VERSION),
    "WRONGPASS": _LOGIN,
    "WRONGTYPE": (
        "has another program's data under a key that the service needs",
        "set SUPPORT_REDIS_PREFIX, or end REDIS_URL with the number of a database of its own",
    ),
    "certificate": (
        "has a certificate of an authority that is not trusted",
        "set SSL_CERT_FILE to a file with the authority's certificate, in PEM",
    ),
    "certificate-expired": ("has a certificate that has expired", "renew it, or correct this machine's clock"),
    "certificate-name": ("has a certificate for another name", "correct REDIS_URL"),
    "closed": (
        "closes the connection without an answer",
        "write rediss:// in REDIS_URL if it expects TLS; otherwise its own log has the reason",
    ),
    "connection": ("can't be reached", "start Redis, or correct REDIS_URL"),
    "connections": ("has all connections in use that SUPPORT_REDIS_CONNECTIONS allows", "raise that setting"),
    "file": (
        "needs a file that can't be read: a socket, or certificates, that REDIS_URL names",
        "start Redis, or correct REDIS_URL",
    ),
    "name": ("has a host name without an address", "correct REDIS_URL"),
    "protocol": ("does not answer as Redis does", "correct the host or port in REDIS_URL"),
    "timeout": (
        "does not answer within SUPPORT_REDIS_TIMEOUT",
        "start Redis, or correct REDIS_URL, in which rediss:// is for TLS alone; if it is far away, raise that setting",
    ),
    "tls": ("speaks no TLS that fits", "write redis:// in REDIS_URL if it speaks none"),
}
_TEXTS = {  # of errors whose code is ERR
    "ACL failure in script": "NOPERM",
    "can't run this command or subcommand": "NOPERM",
    "DB index is out of range": "DBINDEX",
    "invalid password": "WRONGPASS",
    "max number of clients reached": "MAXCLIENTS",
    "SELECT is not allowed in cluster mode": "CROSSSLOT",
    "Connection closed by server": "closed",
    "unknown command": "UNKNOWN",
    "without any password configured": "WRONGPASS",
}

KINDS = tuple(_MEANINGS)
"""All kinds of errors: codes of Redis, and what keeps an answer away."""

FATAL = frozenset(kind for kind, meaning in _MEANINGS.items() if meaning in (_CLUSTER, _LOGIN)) | {"SENTINEL"}
"""Kinds that only another REDIS_URL mends."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with Redis, and what mends it; no exception's text."""

    kind: str
    reason: str
    remedy: str
    stops_turns: bool = True


def kind_of(error: RedisError) -> str:
    """Return the kind of an error."""
    said = str(error)
    for text, kind in _TEXTS.items():
        if text in said:
            return kind
    for code in (error.status_code, *_CODE.findall(said)):
        if code != "ERR" and (code in _MEANINGS or code in _EXPECTED):
            return code
    if isinstance(error, InvalidResponse):
        return "protocol"
    if isinstance(error, ConnectionError):
        return _unconnected(error)
    return "timeout" if isinstance(error, TimeoutError) else "ERR"


def _unconnected(error: ConnectionError) -> str:
    for cause in causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            names = dict.fromkeys(IS_FOR_ANOTHER_NAME, "certificate-name") | {HAS_EXPIRED: "certificate-expired"}
            return names.get(cause.verify_code, "certificate")
        if isinstance(cause, socket.gaierror):
            return "name"
        if isinstance(cause, FileNotFoundError | IsADirectoryError | PermissionError) or names_no_certificates(cause):
            return "file"
        if isinstance(cause, ssl.SSLError):
            return "tls"
    return "connection"


def trouble_of(kind: str, *, commands: str = "", keys: str = "", stops_turns: bool = True) -> Trouble:
    """Put a kind of error into words; the commands or keys that were refused are named."""
    reason, remedy = _MEANINGS[kind]
    if kind == "NOPERM" and (commands or keys):
        what = " or ".join(filter(None, (commands and f"run {commands}", keys and f"use the keys {keys}")))
        reason = f"does not let its user {what}"
    elif kind == "WRONGTYPE" and keys:
        reason = f"has another program's data under {keys}"
    elif commands and kind in ("ERR", "UNKNOWN"):
        reason = f"{'refuses' if kind == 'ERR' else 'does not know'} {commands}"
    return Trouble(kind, reason, remedy, stops_turns)


class Faults:
    """Counts what Redis refuses by kind, and names each kind in the log once, until it has been away for a minute."""

    def __init__(self) -> None:
        self.count = 0
        """How many there were."""
        self._latest: dict[str, float] = {}
        for kind in KINDS:
            redis_errors.add(0, {"kind": kind})  # so that the series exists before the first event

    def note(self, error: RedisError) -> None:
        """Count an error that a command ended with, unless it is one that the service expects."""
        kind = kind_of(error)
        is_ours = isinstance(error, ConnectionError | InvalidResponse | ResponseError | TimeoutError)
        if is_ours and kind not in _EXPECTED:
            found = _COMMAND.search(str(error))
            self.tell(trouble_of(kind, commands=(found[1] or found[2]).upper() if found else ""))

    def tell(self, trouble: Trouble) -> None:
        """Count a trouble, and log it if it is news."""
        redis_errors.add(1, {"kind": trouble.kind})
        self.count += 1
        now = time.monotonic()
        if now - self._latest.get(trouble.kind, -math.inf) > _AWAY:
            _log.warning("Redis %s (%s); %s", trouble.reason, trouble.kind, trouble.remedy)
        self._latest[trouble.kind] = now
