"""JSON of other products."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graph.errors import KnowledgeError
from graph.retrieval.sources import Page
from graph.retrieval.sources.markdown import from_markdown
from harness.sourcing import COMPANY, Found, read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file for the export."""
    return tmp_path / "export.json"


def loaded(path: Path, content: Any, **fields: str) -> Found:
    path.write_text(json.dumps(content))
    return read(str(path), company=replace(COMPANY, fields=fields, url="https://h.example/{id}"))


def test_intercom_loads_without_an_edit(path: Path) -> None:
    """Articles and their translations load, drafts are left out."""
    french = {
        "type": "article_content",
        "title": "Remboursement",
        "body": "<p>Ici.</p>",
        "state": "published",
        "url": "",
    }
    one = {
        "id": "6871118",
        "type": "article",
        "workspace_id": "x",
        "title": "Refunds",
        "description": "All about refunds",
        "body": '<p>See <a href="/en/articles/2">this</a>.</p>',
        "state": "published",
        "url": "https://intercom.help/northwind/en/articles/6871118-refunds",
        "parent_id": 145,
        "parent_type": "collection",
        "default_locale": "en",
        "translated_content": {"type": "article_translated_content", "fr": french, "de": {**french, "state": "draft"}},
    }
    found = loaded(
        path,
        {
            "type": "list",
            "pages": {},
            "total_count": 2,
            "data": [one, {**one, "id": "2", "state": "draft", "translated_content": None}],
        },
    )
    assert found.documents.keys() == {"6871118", "6871118-fr"}
    refunds = found.documents["6871118"]
    assert refunds.text == "See [this](https://intercom.help/en/articles/2)."
    assert (refunds.language, refunds.labels) == ("en", {"section": ("145",)})
    assert found.documents["6871118-fr"].language == "fr"
    assert not found.faults


def test_freshdesk_loads_without_an_edit(path: Path) -> None:
    """Published articles of public folders load, with an address by the company's pattern."""
    one = {
        "id": 4300,
        "type": 1,
        "category_id": 3,
        "folder_id": 4,
        "hierarchy": [{"level": 0, "type": "category", "data": {"id": 3, "name": "Shop", "language": "en"}}],
        "title": "Refunds",
        "description": "<p>Within 30 days.</p>",
        "description_text": "Within 30 days.",
        "status": 2,
        "tags": ["money"],
    }
    others = [{**one, "id": 2, "status": 1}, {**one, "id": 3, "folder_visibility": 3}]
    found = loaded(path, [one, *others])
    assert found.documents.keys() == {"4300"}
    refunds = found.documents["4300"]
    assert (refunds.text, refunds.url) == ("Within 30 days.", "https://h.example/4300")
    assert refunds.labels == {"tags": ("money",), "category": ("3",), "folder": ("4", "Shop")}
    assert len(found.withheld) == 2


def test_a_mapping_says_where_everything_is(path: Path) -> None:
    """Dotted paths lead into objects, and through lists of them."""
    one = {
        "meta": {"key": "a-1", "lang": "de_DE"},
        "head": {"t": "Titel"},
        "parts": {"x.y": "Text."},
        "topics": [{"n": "a"}, {"n": "b"}],
    }
    found = loaded(
        path,
        {"result": {"rows": [one]}},
        articles="result.rows", id="meta.key", title="head.t", text="parts.x.y", language="meta.lang", tags="topics.n",
    )  # fmt: skip
    [document] = found.documents.values()
    assert (document.id, document.title, document.text, document.language) == ("a-1", "Titel", "Text.", "de")
    assert document.labels == {"tags": ("a", "b")}


@pytest.mark.parametrize(
    "flag",
    [
        {"draft": True},
        {"published": False},
        {"internal": 1},
        {"visibility": "private"},
        {"type": "internal_article"},
        {"title": "Internal: a"},
    ],
)
def test_articles_that_are_not_for_customers_are_left_out(path: Path, flag: dict[str, Any]) -> None:
    """By fields that say so, and by the company's patterns."""
    path.write_text(json.dumps([{"id": 1, "title": "A", "body": "Text.", **flag}]))
    found = read(str(path), company=replace(COMPANY, leave_out={"title": ("internal:*",)}))
    assert (found.documents, len(found.withheld)) == ({}, 1)


@pytest.mark.parametrize(
    ("content", "fields", "reason"),
    [
        ([], {}, "no list of articles"),
        ({"a": 1, "b": {}}, {}, "no list of articles: .*; there are a, b"),
        ({"a": []}, {"articles": "a.b"}, "no list of articles at 'a.b'"),
        ([{"id": 1, "question": "A", "reply": "B"}], {}, "no article has 'text': .*; there are id, question, reply"),
        ([{"id": 1, "title": "A", "body": "B"}], {"text": "c"}, "no article has 'text' at 'c'"),
        ([1, 2], {}, "no article has 'id'"),
    ],
)
def test_a_file_without_articles_is_an_error(path: Path, content: Any, fields: dict[str, str], reason: str) -> None:
    """The error says what to name in company.yaml, and what the file has."""
    with pytest.raises(KnowledgeError, match=reason):
        loaded(path, content, **fields)


@pytest.mark.parametrize("content", ["[" * 100_000, '[{"id": NaN}]', "{", "", "\x00"])
def test_what_is_no_json_is_an_error(path: Path, content: str) -> None:
    """Deep nesting, NaN and broken files are named with their line."""
    path.write_text(content)
    with pytest.raises(KnowledgeError, match=r"export\.json:1: not valid JSON"):
        read(str(path))


def test_broken_articles_are_named_and_the_others_read(path: Path) -> None:
    """What is no object, or lacks something, is a fault of its own."""
    good = {"id": 1, "title": "A", "body": "B"}
    found = loaded(
        path, [good, 7, {**good, "id": None}, {**good, "id": 2, "body": ["x"]}, {**good, "id": 3, "title": ""}]
    )
    assert found.documents.keys() == {"1"}
    assert [fault.reason for fault in found.faults] == [
        "is not a JSON object",
        "has no id",
        "has no text",
        "has no title",
    ]


def test_an_article_that_can_not_be_read_costs_itself_alone(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is at fault, or the parser."""
    good, many = {"id": 1, "title": "A", "body": "B"}, {"id": 2, "title": "C", "body": "{% include a %}\n" * 101}
    found = loaded(path, [many, good])
    assert found.documents.keys() == {"1"}
    [fault] = found.faults
    assert (fault.where, fault.reason) == (f"{path}: article 1", "includes more than 100 files")

    def defect(content: bytes) -> list[Page]:
        if b"{%" in content:
            raise KeyError
        return from_markdown(content)

    monkeypatch.setattr("graph.retrieval.sources.markdown.from_markdown", defect)
    found = loaded(path, [many, good])
    assert found.documents.keys() == {"1"}
    assert "a defect of ours" in found.faults[0].reason


def test_an_address_that_is_none_is_not_told(path: Path) -> None:
    """Customers get http(s) addresses alone."""
    found = loaded(
        path, [{"id": 1, "title": "A", "body": "[x](javascript:alert(1)) [y](data:a) B", "url": "javascript:alert(1)"}]
    )
    [document] = found.documents.values()
    assert document.url == "https://h.example/1"
    assert "javascript" not in document.text.replace("alert", "")


def test_help_scouts_list_is_found(path: Path) -> None:
    """It lies one level below the top, and what is hidden stays out."""
    one = {"id": "5f1", "title": "Refunds", "text": "<p>Within 30 days.</p>", "status": "published"}
    two = {"id": "5f2", "title": "Plan", "text": "<p>Secret.</p>", "status": "notpublished"}
    found = loaded(path, {"articles": {"page": 1, "pages": 1, "count": 2, "items": [one, two]}})
    assert [document.title for document in found.documents.values()] == ["Refunds"]
