"""What customers read before they confirm."""

from typing import Any

import pytest

from graph.actions.summaries import summary_of


@pytest.mark.parametrize(
    ("tool", "arguments", "summary"),
    [
        (
            "book_call",
            {"slot": "2026-12-01T09:00:00+00:00", "time_zone": "Europe/Berlin", "topic": "Invoices"},
            "Book a call on Tuesday, 1 December 2026 at 10:00 (Europe/Berlin), about “Invoices”.",
        ),
        (
            "book_call",
            {"slot": "2026-10-25T00:30:00Z", "time_zone": "America/New_York", "topic": ""},
            "Book a call on Saturday, 24 October 2026 at 20:30 (America/New_York).",
        ),
        (
            "move_call",
            {"booking": "b-17", "slot": "2027-03-28T03:30:00+02:00", "time_zone": "Europe/Berlin"},
            "Move the call b-17 to Sunday, 28 March 2027 at 03:30 (Europe/Berlin).",
        ),
        ("cancel_call", {"booking": "b-17"}, "Cancel the call b-17."),
        (
            "send_email",
            {"subject": "Refund", "body": "Hello,\n\nplease look."},
            "Send an e-mail to our support team, with the subject “Refund”: “Hello, please look.”.",
        ),
        ("create_ticket", {"title": "Broken", "priority": 3}, "create_ticket (title: “Broken”, priority: 3)."),
        ("restart", {}, "restart."),
        ("book_call", {"room": "blue"}, "book_call (room: “blue”)."),
        (
            "cancel_call",
            {"booking": "b\u202e17\x1b[31m\u200b"},
            "Cancel the call b17[31m.",
        ),
    ],
)
def test_a_summary_says_what_will_be_done(tool: str, arguments: dict[str, Any], summary: str) -> None:
    """Times are in the customer's zone; another server's tool is shown with its arguments, and nothing hides."""
    assert summary_of(tool, arguments) == summary


@pytest.mark.parametrize("slot", ["tomorrow", "2026-12-01T09:00:00", 5])
@pytest.mark.parametrize("zone", ["Mars/Olympus", "Europe", "../../etc/passwd"])
def test_what_can_not_be_read_is_shown_as_it_is(slot: object, zone: str) -> None:
    """An unknown zone or a slot that is no time is not put into a sentence."""
    told = summary_of("book_call", {"slot": slot, "time_zone": zone, "topic": "x"})
    assert told.startswith("book_call (slot: ")


def test_a_long_text_is_cut() -> None:
    """How much there is stands beside it."""
    told = summary_of("send_email", {"subject": "x", "body": "y" * 100_000})
    assert len(told) < 1200
    assert "(100000 characters)" in told
