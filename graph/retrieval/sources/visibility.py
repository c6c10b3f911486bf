"""Which articles are not meant for customers, and why."""

import datetime as dt
import re
import unicodedata
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from types import MappingProxyType

from graph.retrieval.sources.front_matter import field, is_on, text_field, texts

_TRUE = {
    "draft": "a draft",
    "unpublished": "a draft (unpublished)",
    "wip": "a draft (wip)",
    "hidden": "hidden",
    "unlisted": "hidden (unlisted)",
    "noindex": "hidden from search engines (noindex)",
    "internal": "internal",
    "internalonly": "internal",
    "private": "internal (private)",
    "confidential": "internal (confidential)",
    "archived": "archived",
    "deleted": "deleted",
    "headless": "a part of other pages (headless)",
    "entwurf": "a draft (Entwurf)",
    "intern": "internal (intern)",
    "vertraulich": "internal (vertraulich)",
}
"""Fields that leave an article out where they are true. Names are compared as `_plain_name` returns them."""
_FALSE = {
    "published": "a draft (published: false)",
    "public": "internal (public: false)",
    "visible": "hidden (visible: false)",
    "veröffentlicht": "a draft (veröffentlicht: nein)",
    "öffentlich": "internal (öffentlich: nein)",
}
"""Fields that leave an article out where they are false."""
_TIMES = {"archivedat": "archived", "deletedat": "deleted"}
"""Fields that leave an article out where they have a value."""
_STAFF = frozenset({
    "internal", "intern", "interno", "interne", "private", "hidden", "confidential", "agent", "agents", "staff",
    "employee", "employees",
})  # fmt: skip
_UNFINISHED = frozenset({
    "draft", "drafts", "unpublished", "unpublish", "notpublished", "not published", "not started", "wip",
    "work in progress", "in progress", "in review", "inreview", "review", "pending", "archived", "archive", "deleted",
    "trash", "trashed", "inactive", "unlisted", "entwurf", "in bearbeitung", "unveröffentlicht",
    "nicht veröffentlicht", "archiviert", "borrador", "brouillon",
})  # fmt: skip
_WORDS = {
    **dict.fromkeys(("status", "state", "currentstate", "publishstatus", "publicationstatus"), _UNFINISHED | _STAFF),
    "visibility": _STAFF | _UNFINISHED | {"none", "restricted", "team"},
    **dict.fromkeys(("audience", "access", "accesslevel", "permission", "permissions", "sichtbarkeit"), _STAFF),
}
"""Fields whose words leave an article out; `only` beside a word changes nothing."""
_REDIRECTS = ("redirect_to", "redirect_url", "redirectTo", "redirect", "refresh")
_OTHERS = ("robots", "internalScope", "user_segment_id", "user_segment_ids", "build", "_build", "layout", "expiryDate")


def _plain_name(name: str) -> str:
    """Return a field's name as they are compared: `is_draft`, `isDraft` and `Draft` are one."""
    return re.sub(r"^[Ii]s(?=[A-Z _-])|[ _-]", "", name).lower()


_NAMES = frozenset(
    map(_plain_name, (*_TRUE, *_FALSE, *_TIMES, *_WORDS, *_REDIRECTS, *_OTHERS, "unpublishDate", "publishDate"))
)
"""Every field that is looked at: most articles have none."""


def reason_to_leave_out(fields: Mapping[str, object], now: dt.datetime) -> str | None:
    """Return why front matter or a page's head says that an article is not for customers; None if it does not.

    Only fields of the article itself count: `sidebar.hidden` hides an entry of the navigation, `pagefind: false` a page
    from the site's own search.
    """
    found = {name: plain for name in fields if (plain := _plain_name(name)) in _NAMES}
    for name, plain in found.items():
        value = fields[name]
        if plain in _TRUE and _is_yes(value):
            return _TRUE[plain]
        if plain in _TIMES and text_field({plain: value}, plain) and not _is_no(value):
            return _TIMES[plain]
        if plain in _FALSE and _is_no(value):
            return _FALSE[plain]
        words = _WORDS.get(plain, frozenset())
        if words and (word := next((word for word in texts(value) if _says(word, words)), None)):
            return f"{name}: {word.lower()}"
    if not found:
        return None
    return _internal(fields) or _redirect(fields) or _out_of_time(fields, now)


def _is_yes(value: object) -> bool:
    return is_on({"value": value}, "value") or str(value).strip().lower() in ("1", "y", "ja", "x")


def _is_no(value: object) -> bool:
    return value is False or str(value).strip().lower() in ("false", "no", "off", "0", "n", "nein")


def _says(value: str, words: frozenset[str]) -> bool:
    """Say whether a value is one of these words, or has no other: `internal-only`, `Agents only`."""
    plain = " ".join(re.findall(r"[^\W_]+", value.lower()))
    rest = [word for word in plain.split() if word not in ("only", "nur", "support", "the")]
    return plain in words or (bool(rest) and all(word in words for word in rest))


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
    patterns: Mapping[str, tuple[str, ...]],
    fields: Mapping[str, object],
    *,
    title: str,
    path: str,
    labels: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
) -> str | None:
    """Return the company's pattern that an article matches, as `name: pattern`; letters' case does not count.

    A pattern of paths, or of folders, also has what is below them.
    """
    for name, wanted in patterns.items():
        if name == "path":
            values, wanted_as = _places(path), _as_path
        elif name == "title":
            values, wanted_as = (title, *texts(field(fields, "title"))), _as_text
        else:
            values = (*_values(fields, name), *labels.get(name, ()), *(_folders(path) if name == "folder" else ()))
            wanted_as = _as_path if name == "folder" else _as_text
        for pattern in wanted:
            if any(fnmatchcase(_as_text(value), wanted_as(pattern).replace("[", "[[]")) for value in values):
                return f"{name}: {pattern}"
    return None


def _as_text(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).lower().split())


def _as_path(pattern: str) -> str:
    """Return a pattern of paths, in which `internal`, `/internal/`, `./internal/*` and `**/internal/**` are one."""
    bare = re.sub(r"^(?:\./|/)+|(?:/\**)+$", "", _as_text(pattern).replace("\\", "/"))
    return re.sub(r"\*{2,}/?", "*", bare.removeprefix("**/")) or "*"


def _places(path: str) -> tuple[str, ...]:
    """Return a path, the same without suffix, and the folders that it is in."""
    place = PurePosixPath(path)
    return (path, str(place.with_suffix("")), *map(str, place.parents[:-1])) if place.name else (path,)


def _folders(path: str) -> tuple[str, ...]:
    folders = PurePosixPath(path).parents[:-1]
    return (*map(str, folders), *(folder.name for folder in folders))


def _values(fields: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = field(fields, name)
    return (str(value).lower(),) if isinstance(value, bool) else texts(value)
