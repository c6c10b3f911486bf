import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from graph.events import Source, sources_of
from graph.retrieval import search as searching
from graph.retrieval.articles import Article
from graph.retrieval.memory import MemoryIndex
from graph.retrieval.passages import ArticlePassage, passages_of
from graph.retrieval.search import ARTICLES, BUDGET, Search, fused
from graph.state import Passage
from harness.scripted_model import hashed_words

FILLER = " ".join(f"Filler sentence {number} tells of gardens and of rain." for number in range(40))
HEADED = "\n\n".join(
    f"## Step {number}\n\nTo do {number}: press button{number}. {FILLER[:1000]}" for number in range(6)
)


def article(name: str, text: str, language: str | None = None) -> Article:
    return Article(name, name.replace("-", " "), text, language=language, url=f"https://help.example/{name}")


async def embed(texts: Sequence[str]) -> list[list[float]]:
    return [hashed_words(text, 64) for text in texts]


async def indexed(passages: Sequence[ArticlePassage]) -> MemoryIndex:
    index = MemoryIndex(len(passages), 64)
    await index.add(list(zip(passages, await embed([passage.embedded for passage in passages]), strict=True)))
    return index


async def find(articles: Sequence[Article], *queries: str, default: str | None = None) -> list[Passage]:
    passages = passages_of(articles)
    return await Search(passages, default).find(queries, await indexed(passages), embed)


def test_what_two_rankings_place_high_comes_first() -> None:
    """The first of one ranking alone comes after what both have, and keeps its place among equals."""
    assert fused([[1, 2, 3], [4, 2, 5]]) == [2, 1, 4, 3, 5]
    assert fused([[1, 2], []]) == [1, 2]


async def test_a_name_is_found_that_vectors_do_not_know() -> None:
    """A passage without a vector, which the model refused, is found by its words."""
    passages = passages_of([article(f"article-{number}", f"Text {number} on sync.") for number in range(8)])
    refused = passages_of([article("codes", "The code E-1042 means a full disk.")])
    index = await indexed(passages)
    found = await Search([*passages, *refused], None).find(["what is e1042"], index, embed)
    assert "codes" in [passage["id"] for passage in found]


async def test_a_words_place_in_a_title_counts_more_than_one_in_a_text() -> None:
    """Of two passages with the same words, the one whose title has them is first."""
    articles = [article("a", "Printers and zebra boats."), article("zebra", "Printers and a boats.")]
    ranked = await Search(passages_of(articles), None).by_words("zebra")
    assert ranked == [1, 0]


async def test_a_passage_names_its_section_and_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text is the section's alone; a short article is given whole, and names no section."""
    monkeypatch.setattr(searching, "_FURTHER", 1)
    long, *rest = await find([article("long", HEADED), article("short", "## Part\n\nShort text.")], "button3 now")
    assert (long["id"], long["section"], long["url"]) == ("long", "Step 3", "https://help.example/long")
    assert long["text"].startswith("To do 3: press button3.")
    short = next(passage for passage in rest if passage["id"] == "short")
    assert (short["text"], short["section"]) == ("## Part\n\nShort text.", None)


async def test_neighbours_are_one_passage(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the article's order, each section under its heading; all of it has the section of the best."""
    monkeypatch.setattr(searching, "_FURTHER", 2)
    found = await find([article("long", HEADED)], "button3 and button4")
    (joined,) = [passage for passage in found if "button3" in passage["text"] and "button4" in passage["text"]]
    assert joined["section"] == "Step 3"
    assert joined["text"].index("## Step 3") < joined["text"].index("button3") < joined["text"].index("## Step 4")


async def test_an_article_that_is_found_whole_names_no_section() -> None:
    """All its passages are neighbours."""
    text = "\n\n".join(f"## Part {number}\n\nzebra {FILLER[:900]}" for number in range(2))
    (whole,) = await find([article("one", text)], "zebra")
    assert whole["section"] is None
    assert whole["text"].count("zebra") == 2


async def test_the_passages_have_a_budget() -> None:
    """The best passage of each of the best articles, and no more than the prompt has room for."""
    articles = [article(f"long-{number}", HEADED) for number in range(9)]
    found = await find(articles, "press button1 button2 button3")
    assert len({passage["id"] for passage in found}) == ARTICLES
    assert sum(len(passage["text"]) for passage in found) <= BUDGET + 200


async def test_a_follow_up_finds_what_both_queries_mean() -> None:
    """Each query's best in turn."""
    articles = [article(f"article-{number}", f"Only about topic{number}.") for number in range(9)]
    found = await find(articles, "topic3", "topic5")
    assert {passage["id"] for passage in found[:2]} == {"article-3", "article-5"}


async def test_a_fact_at_the_end_of_a_long_article_is_found() -> None:
    """Of 3,000 words an embedding of the whole would see the first few hundred."""
    paragraphs = [f"{FILLER} Chapter {number} ends here." for number in range(12)]
    end = "The warranty of the Model X-77 lasts nineteen years."
    long = article("long", "\n\n".join([*paragraphs, end]))
    assert len(long.text.split()) > 3000
    others = [article(f"other-{number}", f"{FILLER} Other {number}.") for number in range(20)]
    found = await find([*others, long], "how long is the warranty of an x77")
    assert end in found[0]["text"]
    assert len(found[0]["text"]) < 4000


ENGLISH = [
    article(f"en-{number}", f"You reset the password number {number} on this page.", "en") for number in range(6)
]
GERMAN = [article(f"de-{each}", f"Du setzt das Passwort {each} auf der Seite zurück.", "de") for each in range(6)]


@pytest.mark.parametrize(
    ("question", "begins"),
    [("wie setze ich das passwort zurück", "de"), ("how do I reset the password on the page", "en"), ("E-77", "en")],
)
async def test_a_question_is_answered_from_articles_in_its_language(question: str, begins: str) -> None:
    """Else from those in the default language, of which none has a code as this."""
    found = await find([*GERMAN, *ENGLISH], question, default="en")
    assert len(found) == ARTICLES
    assert all(passage["id"].startswith(begins) for passage in found)


async def test_articles_of_unknown_language_have_the_default_one() -> None:
    """They are found together with those that name it."""
    unknown = [replace(one, language=None) for one in ENGLISH[:3]]
    found = await find([*GERMAN, *unknown, *ENGLISH[3:]], "how do I reset the password on the page", default="en")
    assert len(found) == ARTICLES
    assert all(passage["id"].startswith("en") for passage in found)


async def test_one_language_is_never_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question in another language gets what its words and vector find."""
    monkeypatch.delattr(searching, "Languages")
    assert await find(GERMAN, "how do I reset the password")


def test_sources_name_each_section_once() -> None:
    """Two passages of one section are one source."""
    one = Passage(id="a", title="A", text="…", section="S", url=None)
    other = Passage(id="a", title="A", text="…", section=None, url="https://help.example/a")
    assert sources_of([one, other, one]) == (
        Source("a", "A", url=None, section="S"),
        Source("a", "A", url="https://help.example/a", section=None),
    )


async def test_words_of_a_great_library_leave_the_event_loop_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread finds the same as the event loop would."""
    articles = [article(f"article-{number}", f"Only about topic{number}.") for number in range(9)]
    on_the_loop = await find(articles, "topic3")
    threads: list[object] = []
    to_thread = asyncio.to_thread

    async def noted(function: object, *given: object) -> object:
        threads.append(function)
        return await to_thread(function, *given)  # pyright: ignore[reportCallIssue, reportArgumentType]

    monkeypatch.setattr(searching, "_BRIEF", 5)
    monkeypatch.setattr(searching.asyncio, "to_thread", noted)
    assert await find(articles, "topic3") == on_the_loop
    assert len(threads) == 1


@pytest.mark.parametrize("default", ["en", "de"])
async def test_a_search_made_of_an_earlier_one_finds_the_same(default: str) -> None:
    """Passages that stay keep their words; others, and how rare words are, are counted anew."""
    some = [article(f"plan-{number}", f"Plans cost {number} euros. {HEADED[number:]}") for number in range(6)]
    before = Search(passages_of(some), "en")
    kept = [passage for passage in before.passages if passage.article.id not in ("plan-1", "plan-4")]
    changed = passages_of([article("plan-4", "Plans are free of charge."), article("plan-9", "Buttons cost 9 euros.")])
    both = [*kept, *changed]
    now, anew = Search(both, default, before), Search(both, default)
    for query in ("plans for 4 euros", "free", "press button3", "gardens cost", "1"):
        assert await now.by_words(query) == await anew.by_words(query)
    assert await now.by_words("free of charge")
