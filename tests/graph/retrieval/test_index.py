import re
from pathlib import Path

import pytest

from conftest import COMPANY, MakeSettings
from graph.errors import KnowledgeError, ModelError
from graph.models import open_models
from graph.retrieval.articles import load_library
from graph.retrieval.index import open_knowledge
from harness.scripted_model import ScriptedModel, html, status

GOOD = "---\nid: good\ntitle: Good\ncategory: billing\n---\n\nText.\n"

MALFORMED = {
    "no front matter": ("Text.\n", 1, "front matter"),
    "front matter without an end": ("---\nid: bad\n", 1, "front matter"),
    "not YAML": ("---\nid: bad\ntitle: [a\ncategory: billing\n---\nText.\n", 4, "YAML"),
    "control character": ("---\nid: bad\ntitle: \x07\n---\nText.\n", 3, "YAML"),
    "bad line after U+2028": ("---\nid: bad\ntitle: 'a\u2028b'\ncategory: sales\n---\nText.\n", 4, "must be one of"),
    "alias of itself": (
        "---\nid: bad\ntitle: &a {b: {c: *a}}\ncategory: billing\n---\nText.\n",
        3,
        "title.b: must be text",
    ),
    "NUL": ("---\nid: bad\ntitle: Bad\ncategory: billing\n---\nText.\n\0\n", 7, "NUL"),
    "a list": ("---\n- id\n---\nText.\n", 2, "name: text"),
    "no title": ("---\nid: bad\ncategory: billing\n---\nText.\n", 2, "title is missing"),
    "empty title": ("---\nid: bad\ntitle:\ncategory: billing\n---\nText.\n", 3, "title: must be text"),
    "title of two": (
        "---\nid: bad\ntitle: [a, b]\ncategory: billing\n---\nText.\n",
        3,
        "title: must be text",
    ),
    "unknown field": (
        "---\nid: bad\ntitle: Bad\ntags: x\ncategory: billing\n---\nText.\n",
        4,
        "tags: must be one of",
    ),
    "field twice": (
        "---\nid: bad\ntitle: Bad\ncategory: billing\nid: bad\n---\nText.\n",
        5,
        "id: appears twice",
    ),
    "bad id": ("---\nid: Bad Id\ntitle: Bad\ncategory: billing\n---\nText.\n", 2, "lower-case words"),
    "unknown category": (
        "---\nid: bad\ntitle: Bad\ncategory: sales\n---\nText.\n",
        4,
        "billing, technical, general",
    ),
    "no text": ("---\nid: bad\ntitle: Bad\ncategory: billing\n---\n\n", 6, "needs text"),
}


@pytest.mark.parametrize(("source", "line", "named"), MALFORMED.values(), ids=list(MALFORMED))
def test_a_malformed_article_is_named_with_its_line(articles: Path, source: str, line: int, named: str) -> None:
    """The error has the file, the line and what is expected."""
    path = articles / "bad.md"
    path.write_text(source)
    with pytest.raises(KnowledgeError, match=rf"bad\.md:{line}: .*{named}"):
        load_library(articles)


def test_an_article_that_is_not_utf8_is_named_with_its_line(articles: Path) -> None:
    """Latin-1 is an error at the line where it occurs."""
    (articles / "bad.md").write_bytes(GOOD.encode() + "Café\n".encode("latin-1"))
    with pytest.raises(KnowledgeError, match=r"bad\.md:8: not valid UTF-8"):
        load_library(articles)


def test_an_id_belongs_to_one_article(articles: Path) -> None:
    """Two articles with one id are an error, since one would hide the other."""
    (articles / "one.md").write_text(GOOD)
    (articles / "two.md").write_text(GOOD)
    with pytest.raises(KnowledgeError, match=r"two\.md:2: the id 'good' is already used"):
        load_library(articles)


def test_an_unreadable_article_is_named(articles: Path) -> None:
    """A folder with an article's name is an error, not skipped."""
    (articles / "bad.md").mkdir()
    with pytest.raises(KnowledgeError, match=r"bad\.md: can't be read"):
        load_library(articles)


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (COMPANY.replace("  billing: billing@company.example\n", ""), r":1: contacts\.billing is missing"),
        (COMPANY + "  sales: sales@company.example\n", r":6: contacts\.sales: must be one of"),
        ("", ":1: must be lines"),
    ],
)
def test_a_malformed_company_file_is_named_with_its_line(articles: Path, source: str, named: str) -> None:
    """company.yaml is validated like an article's front matter."""
    (articles / "company.yaml").write_text(source)
    with pytest.raises(KnowledgeError, match=rf"company\.yaml{named}"):
        load_library(articles)


def test_a_folder_without_articles_is_named(tmp_path: Path) -> None:
    """A folder without articles is an error."""
    with pytest.raises(KnowledgeError, match=r"SUPPORT_KNOWLEDGE: no articles .*nowhere"):
        load_library(tmp_path / "nowhere")


def test_the_version_follows_the_content(articles: Path) -> None:
    """Another word, contact or model is another version; the same content is the same one."""
    library = load_library(articles)
    versions = {library.version("e5"), library.version("text-embedding-3-small")}
    path = articles / "careers.md"
    path.write_text(path.read_text().replace("listed", "shown"))
    versions.add(load_library(articles).version("e5"))
    (articles / "company.yaml").write_text(COMPANY.replace("help@", "hello@"))
    versions.add(load_library(articles).version("e5"))
    assert len(versions) == 4
    assert load_library(articles).version("e5") == load_library(articles).version("e5")


def test_an_article_from_windows_is_read(articles: Path) -> None:
    """CRLF and a byte-order mark are accepted, and hidden files are ignored."""
    (articles / "good.md").write_bytes(GOOD.replace("\n", "\r\n").encode("utf-8-sig"))
    (articles / ".#good.md").symlink_to("nowhere")
    library = load_library(articles)
    assert next(article.text for article in library.articles if article.id == "good") == "Text."


@pytest.mark.parametrize(("reply", "reason"), [(status(401), "HTTP 401"), (html, "gave no vectors")])
async def test_an_embedding_model_that_fails_is_named_with_its_reason(
    make_settings: MakeSettings, model: ScriptedModel, caplog: pytest.LogCaptureFixture, reply: object, reason: str
) -> None:
    """It fails who waits for the index and each question, and the log says why, once."""
    model.script("embeddings", reply)  # pyright: ignore[reportArgumentType] - a Reply
    settings = make_settings()
    said = rf"'text-embedding-3-small' .*{reason}"
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        with pytest.raises(KnowledgeError, match=said):
            await knowledge.indexed()
        with pytest.raises(ModelError) as caught:
            await knowledge.search("when is support open")
    assert re.search(said, caught.value.reason)
    assert [record.levelname for record in caplog.records if re.search(said, record.getMessage())] == ["ERROR"]


async def test_search_returns_whole_passages_best_first(make_settings: MakeSettings) -> None:
    """A passage has its article's id, title and text, and the nearest one comes first."""
    settings = make_settings()
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        passages = await knowledge.search("when is support open on monday")
    assert passages[0] == {
        "id": "opening-hours",
        "title": "Opening hours",
        "text": "Support is open Monday to Friday from 9:00 to 17:00.",
    }
    assert len(passages) == 5
