import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.vectors import DIMENSIONS, Vectors

ODD = [
    "",
    "\0",
    "\ufdfa" * 900,
    "😀",
    "\u2028",
    "\U0010ffff",
    "\udc00",
    "x" * 1_000_000,
    "a b " * 250_000,
    "の" * 300_000,
]


def nearness(vectors: Vectors, one: str, other: str) -> float:
    rows = vectors.of([one, other])
    return float(rows[0] @ rows[1])


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_any_text_has_a_vector(vectors: Vectors, text: str) -> None:
    """Also a megabyte, NUL, half a surrogate pair and nothing at all, in seconds."""
    began = time.process_time()
    rows = vectors.of([text])
    assert time.process_time() - began < 60
    assert rows.shape == (1, DIMENSIONS)
    assert np.linalg.norm(rows[0]) == pytest.approx(1, abs=1e-5)


@given(st.text(alphabet=st.characters(codec=None)))
@settings(deadline=None)
def test_a_text_has_the_same_vector_in_any_company(vectors: Vectors, text: str) -> None:
    """What else is embedded, before or beside it, changes nothing."""
    np.testing.assert_array_equal(vectors.of(["Hello", text])[1], vectors.of([text])[0])


@pytest.mark.parametrize(
    ("question", "near", "far"),
    [
        ("When are you open?", "Our opening hours are 9 to 5.", "The upload of a file failed."),
        ("Can I have my money back?", "Refunds for customers", "Dark mode in the mobile app"),
        ("Wo finde ich meine Rechnung?", "Rechnungen herunterladen", "Zwei Konten verbinden"),
        ("如何重置密码", "重置密码", "联系我们"),
        ("איך מאפסים סיסמה", "לאפס סיסמה שכחתי", "תשלום חשבונית"),
    ],
)
def test_texts_of_like_meaning_or_words_are_near(vectors: Vectors, question: str, near: str, far: str) -> None:
    """In English by meaning, and in any language by its words."""
    assert nearness(vectors, question, near) > nearness(vectors, question, far)


def test_pieces_of_a_word_are_those_of_its_tokenizer(vectors: Vectors) -> None:
    """Merged in the order of the list, as SentencePiece does it."""
    assert vectors.pieces("refunded") == ["▁ref", "und", "ed"]
    assert vectors.pieces("the") == ["▁the"]
    assert vectors.pieces("\U0010ffff") == ["▁", "\U0010ffff"]


def test_the_memory_of_words_is_bounded() -> None:
    """When it is full it begins anew, and nothing changes but the time."""
    forgetful, plain = Vectors(remembered=5000), Vectors()
    texts = [" ".join(f"word{number}" for number in range(start, start + 3000)) for start in (0, 3000, 0)]
    np.testing.assert_array_equal(forgetful.of(texts), plain.of(texts))
    assert len(forgetful._places) <= 5000


def test_threads_do_not_mix(vectors: Vectors) -> None:
    """Requests are answered side by side."""
    texts = [" ".join(f"{name}{number}" for number in range(500)) for name in "abcdefgh"]
    found: dict[str, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda text=text: found.update({text: Vectors.of(vectors, [text])})) for text in texts
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for text in texts:
        np.testing.assert_array_equal(found[text], vectors.of([text]))


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    """Nothing in it is executed."""
    np.savez(tmp_path / "words.npz", pieces=np.array([object()]), rows=np.zeros((1, 1)), scales=np.zeros(1))
    with pytest.raises(ValueError, match="allow_pickle"):
        Vectors(tmp_path / "words.npz")
