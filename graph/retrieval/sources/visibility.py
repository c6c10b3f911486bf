"""Which articles are not meant for customers, and why."""

import datetime as dt
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase

from graph.retrieval.sources.front_matter import field, is_on, text_field, texts

_TRUE = {
    "draft": "a draft",
    "hidden": "hidden",
    "unlisted": "hidden (unlisted)",
    "noindex": "hidden from search engines (noindex)",
    "no_index": "hidden from search engines (no_index)",
    "internal": "internal",
    "isInternal": "internal",
    "internalOnly": "internal",
    "internal_only": "internal",
    "private": "internal (private)",
    "archived": "archived",
    "isArchived": "archived",
    "headless": "a part of other pages (headless)",
}
"""Fields that leave an article out where they are true."""
_FALSE = {"published": "a draft (published: false)", "public": "internal (public: false)"}
"""Fields that leave an article out where they are false."""
_WORDS = {
    "status": ("draft", "unpublished", "archived", "internal", "private", "hidden"),
    "state": ("draft", "unpublished", "archived", "internal", "private", "hidden"),
    "visibility": ("internal", "private", "hidden", "draft", "agents", "agents_only", "staff", "none"),
    "audience": ("internal", "staff", "agents", "employees", "employee"),
    "access": ("internal", "private", "staff", "agents", "agents_only"),
}
"""Fields whose words leave an article out."""
_REDIRECTS = ("redirect_to", "redirect_url", "redirectTo", "redirect", "refresh")
_OTHERS = ("robots", "internalScope", "user_segment_id", "user_segment_ids", "build", "_build", "layout", "expiryDate")
_NAMES = frozenset(
    name.lower() for name in (*_TRUE, *_FALSE, *_WORDS, *_REDIRECTS, *_OTHERS, "unpublishDate", "publishDate")
)
"""Every field that is looked at: most articles have none."""


def reason_to_leave_out(fields: Mapping[str, object], now: dt.datetime) -> str | None:
    """Return why front matter or a page's head says that an article is not for customers; None if it does not.

    Only fields of the article itself count: `sidebar.hidden` hides an entry of the navigation, `pagefind: false` a page
    from the site's own search.
    """
    if _NAMES.isdisjoint(name.lower() for name in fields):
        return None
    for name, reason in _TRUE.items():
        if is_on(fields, name):
            return reason
    for name, reason in _FALSE.items():
        value = field(fields, name)
        if value is False or str(value).strip().lower() in ("false", "no", "off"):
            return reason
    for name, words in _WORDS.items():
        found = next((word for word in texts(field(fields, name)) if word.lower().replace(" ", "_") in words), None)
        if found:
            return f"{name}: {found.lower()}"
    return _internal(fields) or _redirect(fields) or _out_of_time(fields, now)


def _internal(fields: Mapping[str, object]) -> str | None:
    if re.search(r"\b(?:noindex|none)\b", ",".join(texts(field(fields, "robots"))), re.IGNORECASE):
        return "hidden from search engines (robots: noindex)"
    scope = field(fields, "internalScope")
    if scope not in (None, False, "", [], {}) and str(scope).strip().lower() not in ("false", "none", "public"):
        return "internal (internalScope)"
    if field(fields, "user_segment_id") not in (None, "") or field(fields, "user_segment_ids") not in (None, "", []):
        return "for some users only (user_segment_id)"
    for name in ("build.render", "_build.render"):
        if str(field(fields, name)).lower() in ("never", "false"):
            return "a part of other pages (build.render: never)"
    return None


def _redirect(fields: Mapping[str, object]) -> str | None:
    target = next((text for name in _REDIRECTS if (text := text_field(fields, name))), None)
    if target or str(field(fields, "layout")).lower() in ("redirect", "redirected"):
        return "a redirect" + (f" to {target}" if target else "")
    return None


def _out_of_time(fields: Mapping[str, object], now: dt.datetime) -> str | None:
    expires = _time(fields, "expiryDate", "unpublishDate")
    if expires and expires <= now:
        return "expired (expiryDate)"
    begins = _time(fields, "publishDate")
    return "not published yet (publishDate)" if begins and begins > now else None


def _time(fields: Mapping[str, object], *names: str) -> dt.datetime | None:
    text = text_field(fields, *names)
    try:
        time = dt.datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return time.replace(tzinfo=time.tzinfo or dt.UTC) if time else None


def pattern_that_leaves_out(
    patterns: Mapping[str, tuple[str, ...]], fields: Mapping[str, object], *, title: str, path: str
) -> str | None:
    """Return the company's pattern that an article matches, as `name: pattern`; letters' case does not count."""
    for name, wanted in patterns.items():
        values = {"title": (title, *texts(field(fields, "title"))), "path": (path,)}.get(name) or _values(fields, name)
        for pattern in wanted:
            if any(fnmatchcase(value.lower(), pattern.lower()) for value in values):
                return f"{name}: {pattern}"
    return None


def _values(fields: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = field(fields, name)
    return (str(value).lower(),) if isinstance(value, bool) else texts(value)
