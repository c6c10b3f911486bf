"""The message, as it is sent."""

import re
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import formatdate


def one_line(text: str) -> str:
    """Return a text with spaces for all white space and control characters: none can begin another header."""
    return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text).split())


@dataclass(frozen=True, slots=True)
class Message:
    """What is sent; `message_id` and `reply_to_id` have their angle brackets."""

    sender: str
    recipient: str
    subject: str
    body: str
    message_id: str
    in_reply_to: str | None = None

    def __bytes__(self) -> bytes:
        """Return the message in 7 bits: every server takes that, whatever the text."""
        message = EmailMessage(policy=SMTP)
        message["From"] = self.sender
        message["To"] = self.recipient
        message["Subject"] = one_line(self.subject)
        message["Date"] = formatdate(usegmt=True)
        message["Auto-Submitted"] = "auto-generated"  # lest an absence note answer it
        message.set_content(self.body, charset="utf-8", cte="quoted-printable")
        return self._ids() + bytes(message)

    def _ids(self) -> bytes:
        """Return the headers that hold message IDs, each on one line: the library would encode a long one."""
        found = {"Message-ID": self.message_id, "In-Reply-To": self.in_reply_to, "References": self.in_reply_to}
        return b"".join(f"{name}: {value}\r\n".encode("ascii") for name, value in found.items() if value)
