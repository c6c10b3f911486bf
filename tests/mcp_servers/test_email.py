"""The e-mail server against a real mail server."""

import asyncio
import os
import ssl
from pathlib import Path
from typing import Any

import pytest
import trustme

from harness.mail_server import Fault, Inbox, mail_server
from harness.mcp_servers import TEAM, RunningServer, email_server

TRANSCRIPT = "Customer: Ich möchte mein Geld zurück: 你好.\n.\nFrom here on:\n" + "x" * 1200 + "\n\ttabs and  spaces\n"


async def test_a_transcript_and_a_second_message_in_its_thread(email: RunningServer, inbox: Inbox) -> None:
    """The text arrives as it is, at the team alone; a reply names the message that began the thread."""
    first = await email.call("send_email", {"subject": "Übergabe h-1", "body": TRANSCRIPT, "thread": "h-1"}, key="k1")
    assert first.structured_content == {"message_id": "<h-1@company.example>"}
    reply = {"subject": "Re: Übergabe h-1", "body": "One more thing.", "thread": "h-1", "is_reply": True}
    second = await email.call("send_email", reply, key="k2")
    began, answered = inbox.messages
    assert (began["Subject"], began["Message-ID"]) == ("Übergabe h-1", "<h-1@company.example>")
    assert began.get_content().splitlines() == TRANSCRIPT.splitlines()
    assert (began["From"], began["To"], began["In-Reply-To"]) == ("agent@company.example", TEAM, None)
    assert answered["In-Reply-To"] == answered["References"] == "<h-1@company.example>"
    assert second.structured_content == {"message_id": answered["Message-ID"]}
    assert answered["Message-ID"] != began["Message-ID"]
    assert inbox.recipients == [[TEAM], [TEAM]]
    assert all(max(map(len, raw.splitlines())) < 999 and raw.isascii() for raw in inbox.raw)


async def test_the_team_is_told_whose_e_mail_it_is(email: RunningServer, inbox: Inbox) -> None:
    """What the metadata says of the customer is below the text, which a model has written."""
    await email.call("send_email", {"subject": "Refund", "body": "Invoice 17.\n"}, customer="c-7\nRun: x", run="r-9")
    lines = inbox.messages[0].get_content().splitlines()
    assert lines == ["Invoice 17.", "", "-- ", "Customer: c-7 Run: x", "Session: s-1", "Run: r-9"]


async def test_the_longest_names_are_not_broken(email: RunningServer, inbox: Inbox) -> None:
    """A thread's name of 128 characters is one word of its header; a long subject arrives whole."""
    thread, subject = "t." * 64, "ü" * 200
    for is_reply in (False, True):
        arguments = {"subject": subject, "body": "x", "thread": thread, "is_reply": is_reply}
        assert not (await email.call("send_email", arguments)).is_error
    assert inbox.messages[0]["Subject"] == subject
    assert f"Message-ID: <{thread}@company.example>\r\n".encode() in inbox.raw[0]
    assert f"In-Reply-To: <{thread}@company.example>\r\n".encode() in inbox.raw[1]


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\u2028", "\x85", "\x0b", "\x00"])
async def test_no_header_can_be_injected(email: RunningServer, inbox: Inbox, end: str) -> None:
    """Whatever ends a line in the subject or the body adds no header and no recipient."""
    subject = f"Hello{end}Bcc: stranger@elsewhere.example{end}{end}gone"
    body = f"Bcc: stranger@elsewhere.example{end}.{end}RCPT TO:<stranger@elsewhere.example>{end}"
    result = await email.call("send_email", {"subject": subject, "body": body})
    assert not result.is_error
    [message] = inbox.messages
    assert message["Subject"] == "Hello Bcc: stranger@elsewhere.example gone"
    assert (message["Bcc"], inbox.recipients) == (None, [[TEAM]])
    assert "RCPT TO" in message.get_content()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"subject": "x", "body": "x", "to": "stranger@elsewhere.example"}, "to: "),
        ({"subject": "", "body": "x"}, "subject: "),
        ({"subject": " \r\n", "body": "x"}, "subject: "),
        ({"subject": "x" * 201, "body": "x"}, "subject: "),
        ({"subject": "x", "body": "x" * 100_001}, "body: "),
        ({"subject": "x", "body": "x", "thread": "a>\r\nBcc: b"}, "thread: "),
        ({"subject": "x", "body": "x", "is_reply": True}, "is_reply needs a thread"),
        ({"body": "x"}, "subject: "),
    ],
)
async def test_bad_arguments_are_refused(
    email: RunningServer, inbox: Inbox, arguments: dict[str, Any], said: str
) -> None:
    """Each is named; there is no way to name a recipient."""
    result = await email.call("send_email", arguments)
    assert (result.is_error, result.structured_content) == (
        True,
        {"outcome": "not_done", "reason": "invalid-arguments"},
    )
    assert said in _text(result)
    assert inbox.raw == []


async def test_the_same_key_sends_once(email: RunningServer, inbox: Inbox) -> None:
    """Eight calls at once with one key send one e-mail and are answered the same; another tenant's key is another."""
    arguments = {"subject": "Hello", "body": "x"}
    results = await asyncio.gather(*(email.call("send_email", arguments, key="k") for _ in range(8)))
    assert {str(result.structured_content) for result in results} == {
        str({"message_id": inbox.messages[0]["Message-ID"]})
    }
    assert len(inbox.raw) == 1
    await email.call("send_email", arguments, key="k", tenant="other")
    await email.call("send_email", arguments)
    await email.call("send_email", arguments)
    assert len({message["Message-ID"] for message in inbox.messages}) == 4


@pytest.mark.parametrize(
    ("fault", "structured"),
    [
        ("refuse sender", {"outcome": "not_done", "reason": "refused"}),
        ("refuse recipient", {"outcome": "not_done", "reason": "refused"}),
        ("refuse content", {"outcome": "not_done", "reason": "refused"}),
        ("drop before content", {"outcome": "not_done", "reason": "unavailable"}),
        ("freeze", {"outcome": "not_done", "reason": "unavailable"}),
        ("drop", {"outcome": "unknown"}),
        ("lose answer", {"outcome": "unknown"}),
    ],
)
async def test_what_a_failure_means(inbox: Inbox, fault: Fault, structured: dict[str, str]) -> None:
    """What was certainly not sent may be tried again with its key; what may have been sent is not sent again."""
    inbox.fault = fault
    async with email_server(inbox, timeout=0.5) as server:
        result = await server.call("send_email", {"subject": "x", "body": "x"}, key="k")
        assert (result.is_error, result.structured_content) == (True, structured)
        inbox.fault = None
        again = await server.call("send_email", {"subject": "x", "body": "x"}, key="k")
    was_sent = structured["outcome"] == "unknown"
    assert again.is_error == was_sent
    assert (again.structured_content == structured) == was_sent
    assert len(inbox.raw) == 1


async def test_nobody_is_there(inbox: Inbox) -> None:
    """A mail server that is down, or lacks the STARTTLS that the settings ask for, is unavailable."""
    async with email_server(inbox, smtp_port=1) as server:
        result = await server.call("send_email", {"subject": "x", "body": "x"})
    assert result.structured_content == {"outcome": "not_done", "reason": "unavailable"}
    async with email_server(inbox, smtp_security="starttls") as server:
        result = await server.call("send_email", {"subject": "x", "body": "x"})
    assert result.structured_content == {"outcome": "not_done", "reason": "unavailable"}
    assert "127.0.0.1" not in _text(result)


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS:UserWarning")  # it is TLS from the start
@pytest.mark.parametrize("security", ["tls", "starttls"])
async def test_it_logs_in_over_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, security: str) -> None:
    """With a certificate that it can check; a wrong password is refused, and one that can't be checked too."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    login = {"smtp_security": security, "smtp_user": "agent"}
    with mail_server(context, starts_with_tls=security == "tls") as inbox:
        for file, password, structured in (
            ("ca.pem", "wrong", {"outcome": "not_done", "reason": "refused"}),
            ("", "right", {"outcome": "not_done", "reason": "unavailable"}),
            ("ca.pem", "right", {"message_id": "<h-1@company.example>"}),
        ):
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / file) if file else os.devnull)
            async with email_server(inbox, **login, smtp_password=password) as server:
                result = await server.call("send_email", {"subject": "x", "body": "x", "thread": "h-1"})
            assert result.structured_content == structured
        assert len(inbox.raw) == 1


async def test_a_frozen_mail_server_holds_up_no_other_call(email: RunningServer, inbox: Inbox) -> None:
    """While one call waits, seven others are answered."""
    arguments = {"subject": "x", "body": "x"}
    inbox.fault = "lose answer"
    frozen = [asyncio.create_task(email.call("send_email", arguments, key=f"frozen {n}")) for n in range(2)]
    while len(inbox.raw) < len(frozen):
        await asyncio.sleep(0.01)
    others = [asyncio.create_task(email.call("send_email", arguments, key=str(number))) for number in range(7)]
    while len(inbox.raw) < len(frozen + others):  # nobody waits for anybody
        await asyncio.sleep(0.01)
    inbox.fault = None
    assert not any(result.is_error for result in await asyncio.gather(*frozen, *others))


async def test_a_call_that_has_begun_is_carried_out(email: RunningServer, inbox: Inbox) -> None:
    """The client goes away, the e-mail is sent, and a repeated call is answered from memory."""
    inbox.fault = "lose answer"
    call = asyncio.create_task(email.call("send_email", {"subject": "x", "body": "x"}, key="k"))
    while not inbox.raw:
        await asyncio.sleep(0.01)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    inbox.fault = None
    again = await email.call("send_email", {"subject": "x", "body": "x"}, key="k")
    assert again.structured_content == {"message_id": inbox.messages[0]["Message-ID"]}
    assert len(inbox.raw) == 1


def _text(result: Any) -> str:
    return result.content[0].text
