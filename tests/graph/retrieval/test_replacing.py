from collections.abc import Collection

import pytest

from graph.retrieval.replacing import trouble_with


@pytest.mark.parametrize(
    ("before", "after", "trouble"),
    [
        ("abcd", "abcd", None),
        ("abcd", "cdef", None),
        ("abcd", "a", "3 of 4 articles are gone, which is more than half"),
        ("abcd", "aefghijkl", "3 of 4 articles are gone, which is more than half"),
        ("abcd", "", "no article is left"),
        ("", "", "no article is left"),
        ("", "a", None),
    ],
)
def test_a_set_without_most_of_the_articles_takes_no_place(
    before: Collection[str], after: Collection[str], trouble: str | None
) -> None:
    """Half of them may go at once, and whatever else there is makes up for none of them."""
    assert trouble_with(before, after) == trouble
