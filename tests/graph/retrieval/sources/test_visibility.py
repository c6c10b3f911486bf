import datetime as dt

import pytest

from graph.retrieval.sources.front_matter import split_front_matter
from graph.retrieval.sources.visibility import pattern_that_leaves_out, reason_to_leave_out

NOW = dt.datetime(2026, 11, 29, tzinfo=dt.UTC)


def reason(front_matter: str) -> str | None:
    fields, _ = split_front_matter(f"---\n{front_matter}\n---\n")
    return reason_to_leave_out(fields, NOW)


@pytest.mark.parametrize(
    "front_matter",
    [
        "draft: true", "Draft: 'yes'", "published: false", "hidden: true", "unlisted: true", "noindex: true",
        "robots: noindex, nofollow", "internal: true", "internalScope: agents", "internalScope: true",
        "user_segment_id: 3600", "archived: true", "status: Draft", "visibility: internal", "redirect_to: /new",
        "layout: redirect", "expiryDate: 2026-01-01", "publishDate: 2027-01-01T08:00:00Z", "headless: true",
        "build:\n  render: never", "audience: [partners, staff]", "is_draft: true", "isInternal: 1", "Is Private: x",
        "published: 0", "isPublished: 'False'", "is_public: no", "visible: false", "status: notpublished",
        "status: In review", "currentState: DRAFT", "PublishStatus: Draft", "publish_status: draft",
        "visibility: Agents only", "visibility: internal-only", "permission: AGENTS", "access_level: internal",
        "deleted: true", "archived_at: 2024-01-01", "deletedAt: 2024-01-01", "Intern: ja", "Status: Entwurf",
        "Veröffentlicht: nein",
    ],
)  # fmt: skip
def test_articles_that_are_not_for_customers_are_left_out(front_matter: str) -> None:
    """Drafts, hidden, internal, archived, expired and moved articles have a reason."""
    assert reason(front_matter)


@pytest.mark.parametrize(
    "front_matter",
    [
        "title: x", "draft: false", "published: true", "published: 2024-01-01", "hidden: false",
        "sidebar:\n  hidden: true",
        "pagefind: false", "hide_title: true", "internalScope: null", "internalScope: []", "user_segment_id: null",
        "status: published", "redirect_from: /old", "aliases: [/old]", "robots: index, follow", "search: false",
        "expiryDate: 2030-01-01", "publishDate: not a date", "visibility: everyone", "nav_exclude: true",
        "toc:\n  hidden: true", "isDraft: false", "archived_at: null", "deleted_at: 0", "is_public: 1", "intern: nein",
        "status: new", "audience: customers and agents", "internal_notes: call first", "permission: ALL", "issue: 1",
    ],
)  # fmt: skip
def test_articles_that_only_look_hidden_are_read(front_matter: str) -> None:
    """What hides an entry of the navigation, or a page from a site's own search, hides no article."""
    assert reason(front_matter) is None


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("path", "internal"), ("path", "internal/"), ("path", "/internal/*"), ("path", "./internal/**"),
        ("path", "**/Internal/**"), ("path", "internal\\*"), ("path", "internal/a.md"), ("path", "internal/a"),
        ("path", "*/a.md"), ("folder", "internal"), ("folder", "internal/*"), ("title", "[internal]*"),
        ("title", "[INTERNAL] call me"), ("section", "For agents"),
    ],
)  # fmt: skip
def test_patterns_are_read_as_people_write_them(name: str, pattern: str) -> None:
    """A folder stands for what is in it, brackets for themselves, and labels have their names."""
    labels = {"section": ("For agents",)}

    def found(title: str, path: str, labels: dict[str, tuple[str, ...]]) -> str | None:
        return pattern_that_leaves_out({name: (pattern,)}, {}, title=title, path=path, labels=labels)

    assert found("[Internal]  call me", "internal/a.md", labels) == f"{name}: {pattern}"
    assert found("Internally", "internals/b.md", {}) is None
