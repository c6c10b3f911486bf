"""When a desk will have replied."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from graph.retrieval.opening import Opening, days_in, spans_in, week_of

WEEK = week_of(dict.fromkeys(range(4), spans_in(["09:00-17:00"])) | {4: spans_in(["13:00-15:00", "09:00-12:00"])})
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-11-23T10:00", "2026-11-23T14:00"),  # Monday
        ("2026-11-23T05:00", "2026-11-23T13:00"),
        ("2026-11-23T16:00", "2026-11-24T12:00"),
        ("2026-11-27T11:00", "2026-11-30T10:00"),  # Friday: an hour before noon, two after it
        ("2026-11-28T12:00", "2026-11-30T13:00"),
        ("2026-12-24T16:30", "2026-12-28T12:30"),  # Christmas Day is a Friday
        ("2026-12-31T23:00", "2027-01-04T13:00"),
        ("2026-03-27T14:00", "2026-03-30T12:00"),  # the clocks change on Sunday
    ],
)
def test_a_reply_comes_after_so_much_staffed_time(written: str, expected: str) -> None:
    """Nights, weekends and holidays do not count, and hours are those of the clock there."""
    opening = Opening("Europe/Berlin", WEEK, ("12-25", "2027-01-01"), 240)
    by = opening.reply_by(datetime.fromisoformat(written).replace(tzinfo=BERLIN))
    assert by
    assert by.astimezone(BERLIN) == datetime.fromisoformat(expected).replace(tzinfo=BERLIN)


def test_a_span_over_the_change_of_the_clocks_has_its_real_length() -> None:
    """On the day with 23 hours a night shift is an hour shorter."""
    opening = Opening("Europe/Berlin", week_of({6: spans_in(["01:00-09:00"])}), (), 360)
    by = opening.reply_by(datetime(2026, 3, 29, 1, tzinfo=BERLIN))
    assert by
    assert by.astimezone(BERLIN) == datetime(2026, 3, 29, 8, tzinfo=BERLIN)


def test_a_desk_that_never_opens_promises_nothing() -> None:
    """Without a span there is no time."""
    assert Opening("UTC", week_of({})).reply_by(datetime(2026, 1, 1, tzinfo=BERLIN)) is None


@pytest.mark.parametrize(
    ("text", "days"), [("Mon", [0]), ("mon-fri", [0, 1, 2, 3, 4]), ("Saturday-Monday", [5, 6, 0]), ("Mon, Wed", [0, 2])]
)
def test_weekdays_may_be_named_in_some_ways(text: str, days: list[int]) -> None:
    """One, several, or from one to another."""
    assert list(days_in(text)) == days
