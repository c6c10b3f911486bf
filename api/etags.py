"""Entity tags: a client that has the content already is not sent it again."""

import hashlib


def tag_of(content: bytes) -> str:
    """Return the `ETag` of a response's content."""
    return f'"{hashlib.sha256(content).hexdigest()[:32]}"'


def is_among(tag: str, tags: str) -> bool:
    """Return whether an `If-None-Match` names this tag, weakly or not."""
    named = {each.strip().removeprefix("W/") for each in tags.split(",")}
    return tag in named or "*" in named
