"""Whether a new set of articles may take the place of what is served."""

from collections.abc import Collection


def trouble_with(before: Collection[str], after: Collection[str]) -> str | None:
    """Return why the articles `after` may not take the place of `before`, both by their ids; None if they may.

    A set without any article, or without more than half of those before, is likelier an accident than a wish: a folder
    that is not mounted, a copy that broke off, an export of one section.
    """
    if not after:
        return "no article is left"
    gone = len(set(before).difference(after))
    if gone * 2 > len(set(before)):
        return f"{gone:,} of {len(set(before)):,} articles are gone, which is more than half"
    return None
