"""What customers read before they confirm."""

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import graph.actions.summaries
from graph.actions.booked import Call, NoSuchCall, changed_call
from graph.actions.dates import day_in, moment_in
from graph.actions.reasons import what_happens
from graph.actions.summaries import summary_of
from graph.actions.tools import Caller, NotCalled, Tool, ToolResult

SLOT = {"slot": "2026-12-01T09:00:00+00:00", "time_zone": "Europe/Berlin"}
MOVED = {"booking": "b-17", "slot": "2026-12-02T15:00:00+01:00", "time_zone": "Europe/Berlin"}
CALL = Call(datetime(2026, 11, 30, 19, tzinfo=UTC), "America/New_York")
LANGUAGES = tomllib.loads(Path(graph.actions.summaries.__file__).with_name("summaries.toml").read_text("utf-8"))


def named(name: str, server: str = "desk", *, reads: bool = False) -> Tool:
    return Tool(name, server, "", {"type": "object"}, reads, True)


@pytest.mark.parametrize(
    ("tool", "arguments", "summary"),
    [
        (
            "book_call",
            SLOT | {"topic": "Invoices"},
            "Book a call on Tuesday, 1 December 2026 at 10:00 (Europe/Berlin), about “Invoices”.",
        ),
        (
            "desk_book_call",
            {"slot": "2026-10-25T00:30:00Z", "time_zone": "America/New_York", "topic": ""},
            "Book a call on Saturday, 24 October 2026 at 20:30 (America/New_York).",
        ),
        (
            "send_email",
            {"subject": "Refund", "body": "Hello,\n\nplease look."},
            "Send an e-mail to our support team, with the subject “Refund”: “Hello, please look.”.",
        ),
        ("create_ticket", {"title": "Broken", "priority": 3}, "create_ticket (title: “Broken”, priority: 3)."),
        ("restart", {}, "restart."),
        ("book_call", {"room": "blue"}, "book_call (room: “blue”)."),
        ("cancel_call", {"booking": "b\u202e17\x1b[31m\u200b"}, "cancel_call (booking: “b17[31m”)."),
    ],
)
def test_a_summary_says_what_will_be_done(tool: str, arguments: dict[str, Any], summary: str) -> None:
    """Times are in the customer's zone; another server's tool is shown with its arguments, and nothing hides."""
    assert summary_of(named(tool), arguments, "en") == summary


@pytest.mark.parametrize(
    ("language", "booked", "moved", "cancelled", "sent"),
    [
        (
            "en",
            "Book a call on Tuesday, 1 December 2026 at 10:00 (Europe/Berlin), about “{a}”.",
            (
                "Move your call on Monday, 30 November 2026 at 14:00 (America/New_York) to Wednesday, 2 December 2026 "
                "at 15:00 (Europe/Berlin)."
            ),
            "Cancel your call on Monday, 30 November 2026 at 14:00 (America/New_York).",
            "Send an e-mail to our support team, with the subject “S”: “{b}”.",
        ),
        (
            "de",
            "Ein Gespräch am Dienstag, 1. Dezember 2026 um 10:00 Uhr (Europe/Berlin) buchen, Thema: „{a}“.",
            (
                "Ihr Gespräch am Montag, 30. November 2026 um 14:00 Uhr (America/New_York) auf Mittwoch, 2. Dezember "
                "2026 um 15:00 Uhr (Europe/Berlin) verlegen."
            ),
            "Ihr Gespräch am Montag, 30. November 2026 um 14:00 Uhr (America/New_York) absagen.",
            "Eine E-Mail an unser Support-Team senden, Betreff „S“: „{b}“.",
        ),
        (
            "fr",
            "Réserver un appel le mardi 1er décembre 2026 à 10:00 (Europe/Berlin), au sujet de « {a} ».",
            (
                "Déplacer votre appel du lundi 30 novembre 2026 à 14:00 (America/New_York) au mercredi 2 décembre 2026 "
                "à 15:00 (Europe/Berlin)."
            ),
            "Annuler votre appel du lundi 30 novembre 2026 à 14:00 (America/New_York).",
            "Envoyer un e-mail à notre équipe d'assistance, avec l'objet « S » : « {b} ».",
        ),
        (
            "es",
            "Reservar una llamada para el martes 1 de diciembre de 2026 a las 10:00 (Europe/Berlin), sobre «{a}».",
            (
                "Cambiar su llamada del lunes 30 de noviembre de 2026 a las 14:00 (America/New_York) al miércoles 2 de "
                "diciembre de 2026 a las 15:00 (Europe/Berlin)."
            ),
            "Cancelar su llamada del lunes 30 de noviembre de 2026 a las 14:00 (America/New_York).",
            "Enviar un correo a nuestro equipo de soporte, con el asunto «S»: «{b}».",
        ),
    ],
)
def test_a_summary_is_in_the_language_of_the_conversation(
    language: str, booked: str, moved: str, cancelled: str, sent: str
) -> None:
    """A call that is moved or cancelled is named by its time, in the zone that it was booked in."""
    assert summary_of(named("book_call"), SLOT | {"topic": "{a}"}, language) == booked
    assert summary_of(named("move_call"), MOVED, language, CALL) == moved
    assert summary_of(named("cancel_call"), {"booking": "b-17"}, language, CALL) == cancelled
    assert summary_of(named("send_email"), {"subject": "S", "body": "{b}"}, language) == sent


def test_every_language_writes_every_summary_and_every_day() -> None:
    """Each in its own words, with seven weekdays and twelve months."""
    assert len(LANGUAGES) == 8
    names = {"book_call": SLOT, "move_call": MOVED, "cancel_call": MOVED}
    for tool, arguments in names.items():
        told = {summary_of(named(tool), arguments, language, CALL) for language in LANGUAGES}
        assert len(told) == len(LANGUAGES)
        assert not any(tool in each for each in told)
    for language in LANGUAGES:
        days = [datetime(2026, month, 8 + month, tzinfo=UTC) for month in range(1, 13)]
        assert len({day_in(language, day, "UTC").split()[-1] for day in days}) == 12
        assert len({day_in(language, datetime(2026, 6, day, tzinfo=UTC), "UTC").split()[0] for day in range(2, 9)}) == 7
        assert "2026" in moment_in(language, days[0], "UTC")
        assert day_in(language, days[0], "UTC") in what_happens(language, days[0], "UTC")


@pytest.mark.parametrize("slot", ["tomorrow", "2026-12-01T09:00:00", 5])
@pytest.mark.parametrize("zone", ["Mars/Olympus", "Europe", "../../etc/passwd"])
def test_what_can_not_be_read_is_shown_as_it_is(slot: object, zone: str) -> None:
    """An unknown zone or a slot that is no time is not put into a sentence."""
    told = summary_of(named("book_call"), {"slot": slot, "time_zone": zone, "topic": "x"}, "de")
    assert told.startswith("book_call (slot: ")


def test_a_long_text_is_cut() -> None:
    """How much there is stands beside it."""
    told = summary_of(named("send_email"), {"subject": "x", "body": "y" * 100_000}, "en")
    assert len(told) < 1200
    assert "(100000 characters)" in told


class Calendar:
    """A calendar's tools, of which `my_calls` has this result."""

    def __init__(self, result: ToolResult) -> None:
        self.asked: list[tuple[str, str]] = []
        self._result = result

    async def call(self, tool_name: str, arguments: Any, caller: Caller, key: str | None = None) -> ToolResult:
        """Return it."""
        assert (arguments, key) == ({}, None)
        self.asked.append((tool_name, caller.session))
        return self._result


LISTED = {"calls": [{"booking": "b-17", "slot": "2026-12-02T11:00:00+01:00", "time_zone": "Europe/Berlin"}]}


async def asked(result: ToolResult, tool: str = "cancel_call", booking: str = "b-17", *tools: Tool) -> Call | None:
    beside = tools or (named("my_calls", "other", reads=True), named("desk_my_calls", reads=True))
    calendar = Calendar(result)
    found = await changed_call(calendar, beside, named(tool), {"booking": booking}, Caller("t", "s", "r"))
    assert calendar.asked == ([] if tool == "book_call" or tools else [("desk_my_calls", "s")])
    return found


async def test_a_call_is_looked_up_where_it_was_booked() -> None:
    """By the tool of the same server, in the zone that it was booked in."""
    found = await asked(ToolResult("", False, LISTED))
    assert found == Call(datetime(2026, 12, 2, 10, tzinfo=UTC), "Europe/Berlin")
    with pytest.raises(NoSuchCall):
        await asked(ToolResult("", False, LISTED), booking="b-18")
    with pytest.raises(NotCalled):
        await asked(ToolResult("The calendar can't be reached.", True))


async def test_no_other_tool_has_its_call_looked_up() -> None:
    """Neither one that changes none, nor one whose server lists none or in another form."""
    assert await asked(ToolResult("", False, LISTED), "book_call") is None
    assert await asked(ToolResult("", False, LISTED), "cancel_call", "b-17", named("my_calls")) is None
    for other in (None, {"calls": "none"}, {"calls": [{"id": 1}]}, {"calls": [{"booking": "b-17", "slot": "noon"}]}):
        assert await asked(ToolResult("", False, other)) is None
