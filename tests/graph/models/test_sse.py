"""The reader of server-sent events, beside the OpenAI client's."""

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from graph.models.sse import EventReader, EventTooLong

_LINES = st.sampled_from(
    [
        *("data: a", "data:b", "data:  c ", "data: é👋\u2028", 'data: {"x": 1}', "data", "data: ", "data:"),
        *(": comment", ":", "event: message", "id: 1", "id", "retry: 5", "other: x", "datax: y", " data: z", ""),
    ]
)
_ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def _streams(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """Return a stream of any lines and line ends, and the places where it is cut."""
    lines = draw(st.lists(st.tuples(_LINES, _ENDS), max_size=30))
    content = "".join(line + end for line, end in lines).encode()
    return content, sorted(draw(st.lists(st.integers(0, len(content)), max_size=20)))


def _pieces(content: bytes, cuts: list[int]) -> Iterator[bytes]:
    for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        yield content[start:end]


def _read(pieces: Iterator[bytes]) -> list[str]:
    reader = EventReader(10_000)
    return [event.decode() for piece in pieces for event in reader.feed(piece)]


@given(_streams())
def test_the_events_are_those_of_the_openai_client(stream: tuple[bytes, list[int]]) -> None:
    """Any stream, cut anywhere, has the same data; events without data are skipped, as the HTML standard says."""
    events = SSEDecoder().iter_bytes(_pieces(*stream))
    assert _read(_pieces(*stream)) == [event.data for event in events if event.data]


def test_a_byte_order_mark_is_skipped() -> None:
    """A mark before the first event is no part of it, also when it arrives in pieces."""
    content = b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n"
    for size in (1, 2, 100):
        assert _read(content[at : at + size] for at in range(0, len(content), size)) == ["a"]


def test_an_event_is_known_with_its_last_line() -> None:
    """No byte after the empty line is waited for."""
    for end in ("\n", "\r", "\r\n"):
        assert EventReader(100).feed(f"data: a{end}{end}".encode()) == [b"a"]


@pytest.mark.parametrize(
    "content", [b"data: " + b"a" * 200, b"data: aaaaaaaa\n" * 20, b"x" * 200], ids=["a line", "many lines", "no field"]
)
@pytest.mark.parametrize("size", [1, 50, 1000])
def test_an_event_that_is_too_long_is_refused(content: bytes, size: int) -> None:
    """The limit holds however the event arrives."""
    reader = EventReader(100)
    with pytest.raises(EventTooLong):
        for at in range(0, len(content), size):
            reader.feed(content[at : at + size])


def test_many_events_are_no_long_one() -> None:
    """The limit is that of one event."""
    reader = EventReader(100)
    content = b"".join(b"data: %b\n\n" % json.dumps({"n": n}).encode() for n in range(1000))
    assert len(reader.feed(content)) == 1000
