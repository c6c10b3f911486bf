"""Pages of Zendesk's Help Center API."""

import json
from pathlib import Path
from typing import Any

import pytest

from graph.errors import KnowledgeError
from graph.retrieval.sources import limits
from harness.sourcing import read

URL = "https://help.northwind.example/hc/en-us/articles/1-Refunds"


def article(number: int = 1, **fields: Any) -> dict[str, Any]:
    """Return an article as the API has it."""
    return {
        "id": number,
        "url": "https://northwind.zendesk.com/api/v2/help_center/en-us/articles/1.json",
        "html_url": URL,
        "title": f"Article {number}",
        "name": f"Article {number}",
        "body": "<p>Text.</p>",
        "draft": False,
        "locale": "en-us",
        "source_locale": "en-us",
        "section_id": 10,
        "label_names": [],
        "user_segment_id": None,
        **fields,
    }


def write(path: Path, **items: Any) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"count": 1, "next_page": None, **items}))
    return str(path.parent)


def test_pages_load_with_sections_and_categories(tmp_path: Path) -> None:
    """Articles of all pages are documents; labels have the names, links lead to the public help centre."""
    body = '<h2>How</h2><p>See <a href="/hc/en-us/articles/2">this</a> and <a href="#a">that</a>.</p>'
    write(
        tmp_path / "articles-1.json", articles=[article(1, title="Refunds", body=body, label_names=["money", "card"])]
    )
    write(tmp_path / "articles-2.json", articles=[article(2)])
    write(
        tmp_path / "sections.json",
        sections=[
            {"id": 10, "name": "Paying", "parent_section_id": 11, "category_id": 20},
            {"id": 11, "name": "Orders", "parent_section_id": None, "category_id": 20},
        ],
    )
    write(tmp_path / "categories.json", categories=[{"id": 20, "name": "Shop"}])
    found = read(str(tmp_path))
    refunds = found.documents["1"]
    assert (refunds.title, refunds.url, refunds.language) == ("Refunds", URL, "en")
    assert refunds.text == "## How\n\nSee [this](https://help.northwind.example/hc/en-us/articles/2) and that."
    assert refunds.labels == {"tags": ("money", "card"), "section": ("Paying", "Orders"), "category": ("Shop",)}
    assert found.documents.keys() == {"1", "2"}
    assert not found.faults


def test_a_single_file_and_ids_in_place_of_names(tmp_path: Path) -> None:
    """One page is enough; rules can use its ids."""
    write(tmp_path / "export.json", articles=[article(1)])
    assert read(str(tmp_path / "export.json")).documents["1"].labels == {"section": ("10",)}


def test_what_is_not_for_customers_is_left_out(tmp_path: Path) -> None:
    """Drafts, user segments, and their translations are counted, and no word of them is read."""
    write(
        tmp_path / "articles.json",
        articles=[
            article(1, draft=True),
            article(2, user_segment_id=7, translations=[article(2, locale="de", user_segment_id=None)]),
            article(3, translations=[article(3, locale="de", hidden=True), article(3, locale="fr", draft=True)]),
        ],
    )
    found = read(str(tmp_path))
    assert found.documents.keys() == {"3"}
    assert len(found.withheld) == 5
    assert not found.faults


def test_translations_are_articles_of_their_language(tmp_path: Path) -> None:
    """They come beside the article, in files of their own, or as pages of another locale."""
    german = {"source_id": 1, "locale": "de", "title": "Erstattung", "body": "<p>Hier.</p>", "draft": False}
    write(tmp_path / "articles.json", articles=[article(1, translations=[german, {**german, "locale": "en-us"}])])
    write(tmp_path / "translations.json", translations=[{**german, "locale": "fr"}, {**german, "source_id": 9}])
    write(tmp_path / "es" / "articles.json", articles=[article(1, locale="es")])
    found = read(str(tmp_path))
    assert {document.id: document.language for document in found.documents.values()} == {
        "1": "en", "1-de": "de", "1-fr": "fr", "1-es": "es",
    }  # fmt: skip
    assert "its article is not in the export" in found.fault


def test_broken_pages_are_named_and_the_others_read(tmp_path: Path) -> None:
    """A file that is no JSON, and articles without what they need, are faults."""
    write(
        tmp_path / "articles-1.json", articles=[article(1), article(2, body=None), article(3, title="", name=None), 4]
    )
    (tmp_path / "articles-2.json").write_text('{"articles": [\n{"id": NaN}]}')
    (tmp_path / "articles-3.json").write_text('{"articles": ' + "[" * 100_000)
    found = read(str(tmp_path))
    assert found.documents.keys() == {"1"}
    reasons = [f"{fault.where.removeprefix(str(tmp_path))}: {fault.reason}" for fault in found.faults]
    assert sorted(reasons) == [
        "/articles-1.json: articles 2: has no text",
        "/articles-1.json: articles 3: has no title",
        "/articles-1.json: articles number 4: has no id",
        "/articles-2.json:2: not valid JSON",
        "/articles-3.json:1: not valid JSON",
    ]


def test_a_file_alone_that_is_broken_or_too_long_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names file and line."""
    path = tmp_path / "articles.json"
    path.write_text('{"articles": [')
    with pytest.raises(KnowledgeError, match=r"articles\.json:1: not valid JSON"):
        read(str(path))
    monkeypatch.setattr(limits, "FILE", 3)
    with pytest.raises(KnowledgeError, match=r"articles\.json: is longer than 3 bytes"):
        read(str(path))


def test_a_second_reading_yields_what_has_changed(tmp_path: Path) -> None:
    """Unchanged, changed and deleted articles are told apart; an id that is there twice counts once."""
    write(tmp_path / "articles.json", articles=[article(1), article(2), article(3), article(3)])
    first = read(str(tmp_path))
    assert len(first.faults) == 1
    write(tmp_path / "articles.json", articles=[article(1, vote_sum=5), article(2, body="<p>New.</p>")])
    again = read(str(tmp_path), first.revisions)
    assert (again.unchanged, set(again.documents), again.deleted) == ({"1"}, {"2"}, {"3"})
