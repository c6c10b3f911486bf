import pytest

from graph.retrieval.languages import Languages
from graph.retrieval.words import Words, words_in

TEXTS = [
    "The sync fails with E-1042 when the disk is full.",
    "Set MAX_UPLOAD_SIZE to allow larger files.",
    "Refunds are paid to the card that was charged.",
    "The plan Pro+ costs more; version 2.14.3 is needed.",
    "Bezahlte Rechnungen findest du in den Einstellungen.",
    "返金は30日以内に行われます。",
    "Nothing of all this.",
]
LANGUAGES = ["en", "en", "en", "en", "de", "ja", "en"]


def best(query: str, language: str = "en") -> str | None:
    words = Words(TEXTS, LANGUAGES)
    if not (terms := words.terms(query, language)):
        return None
    return TEXTS[int(words.scores(terms).argmax())]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("what does e-1042 mean", 0),
        ("What is E1042?", 0),
        ("ERROR 1042", 0),
        ("max_upload_size", 1),
        ("what's the max upload size", 1),
        ("refunded payments to my cards", 2),
        ("is 2.14.3 enough", 3),
        ("how do I get a refund", 2),
    ],
)
def test_names_are_found_as_words(query: str, found: int) -> None:
    """Codes and part numbers in any case, with their hyphens or without; other words by their stems."""
    assert best(query) == TEXTS[found]


def test_words_are_stemmed_by_their_language() -> None:
    """German inflects other than English does."""
    assert best("Rechnung bezahlen", "de") == TEXTS[4]


def test_text_without_spaces_is_found_by_pairs_of_characters() -> None:
    """A word inside a Japanese sentence is found."""
    assert best("返金について", "ja") == TEXTS[5]
    assert list(words_in("APIキーの使い方")) == ["キー", "ーの", "の使", "使い", "い方", "api"]


@pytest.mark.parametrize("query", ["how do I do this", "", "?!", "zebra"])
def test_a_query_without_words_that_say_anything_finds_nothing(query: str) -> None:
    """Stop words, and words that no passage has."""
    assert best(query) is None


def test_passages_without_words_are_no_trouble() -> None:
    """A library of nothing but marks has no words."""
    assert Words(["!!", "…"], ["en", "en"]).terms("anything", "en") == []


ENGLISH = "You can reset your password on the sign-in page. We will send you a link by email, which lasts an hour."
GERMAN = "Du kannst dein Passwort auf der Seite zur Anmeldung zurücksetzen. Wir senden dir einen Link per E-Mail."
JAPANESE = "サインインページでパスワードをリセットできます。"


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("How do I reset my password?", "en"),
        ("Wie setze ich mein Passwort zurück?", "de"),
        ("ich habe keinen Link bekommen", "de"),
        ("パスワードを忘れました", "ja"),
        ("Where is the link?", "en"),
        ("Link", "en"),
        ("E-1042", "en"),
        ("", "en"),
        ("¿Dónde está el enlace?", "en"),
    ],
)
def test_a_question_has_the_language_whose_articles_use_its_words(question: str, language: str) -> None:
    """What is too short, or in none of the languages, has the default one."""
    texts = [(ENGLISH, "en"), (GERMAN, "de"), (JAPANESE, "ja")]
    assert Languages(texts, "en").of(question) == language
