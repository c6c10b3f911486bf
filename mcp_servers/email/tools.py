"""The tool `send_email`."""

import asyncio
import hashlib
from collections import OrderedDict
from email.utils import make_msgid
from typing import Self

import mcp_types as types
from pydantic import BaseModel, Field, field_validator, model_validator

from mcp_servers.email.message import Message, one_line
from mcp_servers.email.sending import send
from mcp_servers.email.settings import EmailSettings
from mcp_servers.tools import Answer, Arguments, Caller, NotDone, Tool

_REMEMBERED = 10_000  # calls


class Email(Arguments):
    """An e-mail to the support team."""

    subject: str = Field(min_length=1, max_length=200, description="Subject, one line.")
    body: str = Field(min_length=1, max_length=100_000, description="The text, plain.")
    thread: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9_.-]{1,128}$", description="Name of the thread that it begins or belongs to."
    )
    is_reply: bool = Field(default=False, description="Whether it belongs to the thread that another e-mail began.")

    @model_validator(mode="after")
    def _replies_to_something(self) -> Self:
        if self.is_reply and self.thread is None:
            raise ValueError("is_reply needs a thread")
        return self

    @field_validator("subject")
    @classmethod
    def _says_something(cls, subject: str) -> str:
        if not one_line(subject):
            raise ValueError("Value should have a word")
        return subject


class Sent(BaseModel):
    """The e-mail that was sent."""

    message_id: str


class Mailbox:
    """Sends e-mails, and remembers by their key which it has sent."""

    def __init__(self, settings: EmailSettings) -> None:
        self._settings = settings
        self._sent: OrderedDict[tuple[str | None, str], asyncio.Task[Answer]] = OrderedDict()

    @property
    def tool(self) -> Tool[Email]:
        """The tool as it is offered."""
        return Tool(
            name="send_email",
            description=(
                "Send an e-mail to the support team, on behalf of the customer. It goes to the team's own address and"
                " can't be sent to anybody else."
            ),
            arguments=Email,
            result=Sent,
            run=self.send,
            annotations=types.ToolAnnotations(
                read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True
            ),
        )

    async def send(self, email: Email, caller: Caller) -> Answer:
        """Send an e-mail, unless a call with the same key has done so; raises NotDone or OutcomeUnknown."""
        if caller.key is None:
            return await self._send(email, caller)
        key = (caller.tenant, caller.key)
        if (task := self._sent.get(key)) is None:
            task = self._sent[key] = asyncio.create_task(self._send(email, caller))
            while len(self._sent) > _REMEMBERED:
                self._sent.popitem(last=False)
        try:
            return await asyncio.shield(task)
        except NotDone:
            if self._sent.get(key) is task:
                del self._sent[key]  # it may be tried again
            raise

    async def _send(self, email: Email, caller: Caller) -> Answer:
        thread = f"<{email.thread}@{self._settings.domain}>" if email.thread else None
        message = Message(
            sender=self._settings.sender,
            recipient=self._settings.to,
            subject=email.subject,
            body=email.body if email.thread else _signed(email.body, caller),
            message_id=thread if thread and not email.is_reply else self._id(caller),
            in_reply_to=thread if email.is_reply else None,
        )
        await send(message, self._settings)
        return Answer("The e-mail was sent to the support team.", Sent(message_id=message.message_id))

    def _id(self, caller: Caller) -> str:
        """Return a message ID; it is the same for the same key, so that a receiver may tell a repeated e-mail."""
        if caller.key is None:
            return make_msgid(domain=self._settings.domain)
        name = hashlib.sha256(f"{caller.tenant}\n{caller.key}".encode()).hexdigest()[:32]
        return f"<{name}@{self._settings.domain}>"


def _signed(body: str, caller: Caller) -> str:
    """Return a text with whose it is, so that the team can reply; an e-mail of a thread says so itself."""
    about = {"Customer": caller.customer, "Session": caller.session, "Run": caller.run}
    lines = [f"{name}: {one_line(value)}" for name, value in about.items() if value]
    return "\n".join([body.rstrip(), "", "-- ", *lines]) if lines else body
