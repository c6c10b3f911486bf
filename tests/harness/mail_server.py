"""A mail server that keeps what it gets, and fails as a test says."""

import asyncio
import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from typing import Any, Literal

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from local.process import free_port

Fault = Literal[
    "refuse sender", "refuse recipient", "refuse content", "freeze", "drop before content", "drop", "lose answer"
]


class Inbox:
    """What a mail server has got, and what it does wrong: `drop` and `lose answer` after the content has come."""

    def __init__(self) -> None:
        self.port = 0
        self.fault: Fault | None = None
        self.messages: list[EmailMessage] = []
        self.raw: list[bytes] = []
        self.recipients: list[list[str]] = []

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Answer MAIL FROM."""
        await self._while("freeze")
        if self.fault == "refuse sender":
            return "550 not you"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 OK"

    async def handle_RCPT(  # noqa: N802 - the same
        self, server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Answer RCPT TO."""
        if self.fault == "refuse recipient":
            return "550 no such mailbox"
        if self.fault == "drop before content":
            _drop(server)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - the same
        """Keep the message."""
        if self.fault == "refuse content":
            return "554 looks like spam"
        content = envelope.content
        assert isinstance(content, bytes)
        self.raw.append(content)
        self.messages.append(_parsed(content))
        self.recipients.append(list(envelope.rcpt_tos))
        if self.fault == "drop":
            _drop(server)
        await self._while("lose answer")
        return "250 kept"

    async def _while(self, fault: Fault) -> None:
        while self.fault == fault:
            await asyncio.sleep(0.01)


def _authenticate(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (b"agent", b"right"), handled=False)


def _drop(server: SMTP) -> None:
    transport: Any = server.transport
    transport.abort()


def _parsed(content: bytes) -> EmailMessage:
    message = BytesParser(policy=default).parsebytes(content)
    assert isinstance(message, EmailMessage)
    return message


class _ByTLS(Controller):
    """Speaks TLS from the first byte, and checks at its start only that it listens."""

    def _trigger_server(self) -> None:
        socket.create_connection(("127.0.0.1", self.port)).close()


@contextmanager
def mail_server(tls: ssl.SSLContext | None = None, *, starts_with_tls: bool = False) -> Generator[Inbox]:
    """Yield the inbox of a mail server on loopback; with TLS it wants the user `agent` and the password `right`."""
    inbox = Inbox()
    inbox.port = free_port()
    secure: dict[str, Any] = {}
    if tls:
        secure = {"auth_required": True, "authenticator": _authenticate}
        secure |= {"ssl_context": tls} if starts_with_tls else {"tls_context": tls, "require_starttls": True}
        secure |= {"auth_require_tls": not starts_with_tls}  # it knows of TLS only what came by STARTTLS
    kind = _ByTLS if starts_with_tls else Controller
    controller = kind(inbox, hostname="127.0.0.1", port=inbox.port, **secure)
    controller.start()
    try:
        yield inbox
    finally:
        controller.stop()
