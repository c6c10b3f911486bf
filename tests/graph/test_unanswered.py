import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graph.unanswered import MARK, MarkFilter

SORRY = "I'm sorry, the articles do not say.\n\nPlease write to help@a.example."


def filtered(pieces: list[str]) -> tuple[str, bool]:
    filter_ = MarkFilter()
    shown = "".join([*(filter_.feed(piece) for piece in pieces), filter_.end()])
    return shown, filter_.found


@st.composite
def cut(draw: st.DrawFn, text: str) -> list[str]:
    """Any way to cut a text into pieces."""
    places = sorted(draw(st.sets(st.integers(0, len(text)))))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


FORMS = {
    MARK: "",
    f"{MARK}\n\n": "",
    f"**{MARK}** ": "",
    f'"{MARK}" ': "",
    f"`{MARK}`\n": "",
    f"\u201c{MARK}\u201d": "",
    MARK.upper(): "",
    "< Unanswered />": "",
    "\\<unanswered\\> ": "",
    f"{MARK}</unanswered>": "",
    f"{MARK} {MARK}": "",
    "<unanswered ": "",
    f"Hello! {MARK} ": "Hello!  ",
    f"**Hello!** **{MARK}**": "**Hello!** ",
}
"""How models send it, and what is left."""


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
def test_a_mark_is_found_and_not_shown_however_it_is_cut(form: str, data: st.DataObject) -> None:
    """Case, spaces, slashes, bold, quotes and code around it do not matter, nor does its place."""
    assert filtered(data.draw(cut(form + SORRY))) == (FORMS[form] + SORRY, True)


@settings(max_examples=40)
@given(data=st.data(), before=st.text(max_size=30), after=st.text(max_size=30))
def test_nothing_of_a_mark_is_ever_shown(data: st.DataObject, before: str, after: str) -> None:
    """Whatever stands around it."""
    shown, found = filtered(data.draw(cut(before + MARK + after)))
    assert found
    assert MARK not in shown.casefold()


@given(data=st.data(), text=st.text(alphabet="<unawersd>/*\"'` \n\\x&;é", max_size=60))
def test_any_text_is_shown_alike_however_it_is_cut(data: st.DataObject, text: str) -> None:
    """Pieces change nothing, and without a mark all is shown as it is."""
    shown, found = filtered(data.draw(cut(text)))
    assert (shown, found) == filtered([text])
    assert found or shown == text


@pytest.mark.parametrize(
    "text", ["<answered>", "<u>this</u>", "unanswered", "a < b", "<unansweredness>", "x <", "**", "It's"]
)
def test_other_text_is_no_mark(text: str) -> None:
    """The word alone, other tags and half an HTML tag are shown."""
    assert filtered(list(text)) == (text, False)


@pytest.mark.parametrize("length", range(3, len(MARK)))
def test_a_mark_that_the_end_of_the_reply_cuts_counts(length: int) -> None:
    """Nothing of it is shown."""
    assert filtered([f"Hello. {MARK[:length]}"]) == ("Hello. ", True)


def test_a_piece_that_can_begin_no_mark_is_shown_at_once() -> None:
    """The first token waits for nothing."""
    filter_ = MarkFilter()
    assert [filter_.feed(piece) for piece in ("With", "in 30", " days <", "b")] == ["With", "in 30", " days ", "<b"]
