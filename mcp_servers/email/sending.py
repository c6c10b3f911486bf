"""One message to the mail server, within a time limit."""

import asyncio
import contextlib
import logging

from aiosmtplib import SMTP, SMTPException, SMTPResponseException

from mcp_servers.email.message import Message
from mcp_servers.email.settings import EmailSettings
from mcp_servers.tools import NotDone, OutcomeUnknown

_log = logging.getLogger(__name__)
_GOODBYE = 1.0  # seconds for QUIT, when the message has long been taken


async def send(message: Message, settings: EmailSettings) -> None:
    """Hand a message over to the mail server; raises NotDone or OutcomeUnknown."""
    smtp = _Client(settings)
    try:
        async with asyncio.timeout(settings.timeout):
            await smtp.hand_over(message)
    except SMTPResponseException as error:
        # It has answered, and taken nothing.
        _log.warning("the mail server refused an e-mail: %s, code %s", type(error).__name__, error.code)
        raise NotDone("refused", "The mail server refused the e-mail, so it was not sent.") from None
    except (SMTPException, OSError, TimeoutError, ValueError) as error:
        _log.warning("the mail server failed: %s", type(error).__name__)
        if smtp.has_content:
            raise OutcomeUnknown("The e-mail may have been sent: the mail server did not confirm it.") from None
        raise NotDone("unavailable", "The mail server can't be reached, so the e-mail was not sent.") from None
    finally:
        smtp.close()


class _Client:
    def __init__(self, settings: EmailSettings) -> None:
        password = settings.smtp_password
        self._smtp = SMTP(
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            use_tls=settings.smtp_security == "tls",
            start_tls=settings.smtp_security == "starttls",
            username=settings.smtp_user,
            password=password.get_secret_value() if password else None,
            timeout=settings.timeout,
            local_hostname=settings.domain,  # by default it looks up this machine's name, which may take seconds
        )
        self.has_content = False
        """Whether the message's content may have reached the server, which may then send it."""

    async def hand_over(self, message: Message) -> None:
        await self._smtp.connect()
        await self._smtp.mail(message.sender)
        # One recipient, whose refusal is an error: `sendmail` only returns those that were refused.
        await self._smtp.rcpt(message.recipient)
        self.has_content = True
        await self._smtp.data(bytes(message))
        with contextlib.suppress(SMTPException, OSError, TimeoutError):
            await self._smtp.quit(timeout=_GOODBYE)

    def close(self) -> None:
        self._smtp.close()
