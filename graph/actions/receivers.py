"""Where the team gets hand-overs: a signed webhook (https://www.standardwebhooks.com), or e-mail through a tool."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

import aiohttp

from graph.actions.handoffs import Entry
from graph.actions.outbox import NotReceived, Receiver
from graph.actions.tools import Caller, NotCalled, OutcomeUnknown, ToolResult
from graph.connection import connector, proxy_for
from graph.settings import AgentSettings

_TIMEOUT = 10.0  # seconds for a receiver to confirm
_CONNECTIONS = 8
_SUBJECT = 120  # characters
_MOST_TEXT = 90_000  # characters of an e-mail
_NAMES = {"user": "Customer", "assistant": "Agent", "agent": "Colleague"}

UNRECEIVED = (
    "nobody is told of conversations that are handed over to a person, which GET /handoffs lists: set "
    "SUPPORT_HANDOFF_WEBHOOK or SUPPORT_HANDOFF_EMAIL"
)
"""What operators are told where neither is configured."""

SEND_EMAIL = "send_email"
"""The tool that sends an e-mail to the team."""


class Tools(Protocol):
    """The tools of the MCP servers."""

    async def call(
        self, tool_name: str, arguments: Mapping[str, Any], caller: Caller, key: str | None = None
    ) -> ToolResult:
        """Call a tool; raises NotCalled and OutcomeUnknown. A call repeated with the same key has no further effect."""
        ...


class Webhook:
    """Posts entries, signed as Standard Webhooks describes it."""

    def __init__(self, session: aiohttp.ClientSession, url: str, secret: str, proxy: str | None) -> None:
        self._session = session
        self._url = url
        self._secret = secret
        self._proxy = proxy

    async def send(self, entry: Entry, trace_url: str | None) -> None:
        """Post an entry; raises NotReceived unless the answer is 2xx."""
        body = json.dumps(payload(entry, trace_url), ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json", **signed(self._secret, entry.id, int(time.time()), body)}
        try:
            async with self._session.post(
                self._url, data=body, headers=headers, proxy=self._proxy, allow_redirects=False
            ) as answer:
                if not 200 <= answer.status < 300:
                    raise NotReceived(f"the webhook answers HTTP {answer.status}")
        except (aiohttp.ClientError, TimeoutError, OSError):
            raise NotReceived(f"the webhook can't be reached, or did not answer within {_TIMEOUT:.0f} s") from None


class Mail:
    """Sends entries as e-mails, those of one hand-over in one thread."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._unconfirmed: dict[str, int] = {}
        """By entry, how often the mail server has not confirmed it, by the e-mail server's word."""

    async def send(self, entry: Entry, trace_url: str | None) -> None:
        """Send an entry; raises NotReceived unless the server has taken it."""
        record = entry.handoff
        caller = Caller(record.tenant, record.thread, entry.run_id, record.customer_id)
        arguments = mail(entry, trace_url)
        tried = self._unconfirmed.get(entry.id, 0)
        try:
            # With a key that it knows the e-mail server would say for ever that it can't tell.
            result = await self._tools.call(SEND_EMAIL, arguments, caller, f"{entry.id}-{tried}" if tried else entry.id)
        except NotCalled:
            raise NotReceived("the e-mail server can't be reached") from None
        except OutcomeUnknown as error:
            if error.is_said:  # the team would rather get it twice than never
                self._unconfirmed[entry.id] = tried + 1
                raise NotReceived("the mail server did not confirm it") from None
            # With the same key the server sends it once.
            raise NotReceived("the e-mail server did not say whether it has sent it") from None
        if result.is_error:
            raise NotReceived("the e-mail server refuses it")
        self._unconfirmed.pop(entry.id, None)


@asynccontextmanager
async def open_receiver(settings: AgentSettings, tools: Tools | None) -> AsyncGenerator[Receiver | None]:
    """Open what is configured: a webhook, or e-mail; None if neither is."""
    url = settings.handoff_webhook
    if settings.handoff_email and tools:
        yield Mail(tools)
    elif url is None or settings.handoff_secret is None:
        yield None
    else:
        proxy = proxy_for(url)
        socks = proxy if proxy and proxy.startswith("socks") else None
        connections = connector(socks, secure=url.startswith("https:"), limit=_CONNECTIONS)
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT)
        async with aiohttp.ClientSession(connector=connections, timeout=timeout) as session:
            secret = settings.handoff_secret.get_secret_value()
            yield Webhook(session, url, secret, None if socks else proxy)


def signed(secret: str, entry_id: str, at: int, body: bytes) -> dict[str, str]:
    """Return the headers that let a receiver check where a body comes from, and drop one that it has already."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = hmac.new(key, f"{entry_id}.{at}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": entry_id,
        "webhook-timestamp": str(at),
        "webhook-signature": f"v1,{base64.b64encode(signature).decode()}",
    }


def payload(entry: Entry, trace_url: str | None) -> dict[str, Any]:
    """Return an entry as JSON, as docs/handover.md describes it."""
    record = entry.handoff
    about = {
        "id": record.id,
        "session_id": record.session_id,
        "tenant": record.tenant,
        "customer_id": record.customer_id,
        "category": record.category,
        "reason": record.reason,
        "summary": record.summary,
        "opened_at": record.opened_at,
        "expected_reply": record.expected_reply,
        "run_id": entry.run_id,
        "trace_url": trace_url,
        "transcript": [{"role": line.role, "content": line.content} for line in entry.lines],
    }
    return {
        "type": entry.kind,
        "timestamp": entry.at,
        "data": {name: value for name, value in about.items() if value is not None},
    }


def mail(entry: Entry, trace_url: str | None) -> dict[str, Any]:
    """Return the arguments of the tool that sends an e-mail."""
    record = entry.handoff
    is_reply = entry.kind == "handoff.message"
    about = {
        "Hand-over": record.id,
        "Reason": record.reason,
        "Desk": record.category,
        "Customer": record.customer_id,
        "Session": record.session_id,
        "Tenant": record.tenant,
        "Opened": record.opened_at,
        "Reply expected": record.expected_reply,
        "Run": entry.run_id,
        "Trace": trace_url,
    }
    head = "" if is_reply else "\n".join(f"{name}: {value}" for name, value in about.items() if value) + "\n\n"
    lines = "\n\n".join(f"{_NAMES[line.role]}: {line.content}" for line in entry.lines)
    subject = " ".join(f"[{record.category}] {record.summary}".split())
    return {
        "subject": subject if len(subject) <= _SUBJECT else f"{subject[: _SUBJECT - 1]}\u2026",
        "body": f"{record.summary}\n\n{head}{lines}"[:_MOST_TEXT] if not is_reply else lines[:_MOST_TEXT],
        "thread": record.id,
        "is_reply": is_reply,
    }
