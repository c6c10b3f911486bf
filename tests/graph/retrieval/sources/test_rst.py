import pytest

from graph.retrieval.sources.rst import from_rst


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("One *two* **three** ``four``", "One *two* **three** `four`"),
        ("Part\n----\n\n- a\n\n  more\n- b", "- a\n\n  more\n\n- b"),
        ("Run::\n\n    {{ kept }}\n", "Run:\n\n```\n{{ kept }}\n```"),
        (".. code-block:: python\n   :linenos:\n\n   run()", "```python\nrun()\n```"),
        (".. note::\n\n   Mind it.", "Note\n\nMind it."),
        (".. versionadded:: 2.0\n   It is new.\n\nText", "**2.0**\n\nIt is new.\n\nText"),
        (".. tabs::\n\n   .. tab:: Mac\n\n      Text", "**Mac**\n\nText"),
        (".. toctree::\n   :maxdepth: 2\n\n   a\n   b\n\nText", "Text"),
        (".. internal note\n\nText", "Text"),
        (".. contents::\n\nText", "Text"),
        (
            "Press :kbd:`Ctrl` in :menuselection:`File --> Open`, see :ref:`the part <part>`.",
            "Press Ctrl in File --> Open, see the part.",
        ),
        ("`Plans <plans.html>`_ and `bills`_\n\n.. _bills: /bills", "[Plans](plans.html) and [bills](/bills)"),
        ("=== ===\nA   B\n=== ===\n1   2\n=== ===", "| A | B |\n| --- | --- |\n| 1 | 2 |"),
        ("Select |gear| now.\n\n|plan| Only there.", "Select now.\n\nOnly there."),
        (".. |os| replace:: Linux\n\nOn |os| or ``a|b|c``.", "On Linux or `a|b|c`."),
        (".. raw:: html\n\n   <script>x</script>\n\nText", "Text"),
        (".. include:: /etc/passwd\n\nText", "Text"),
    ],
)
def test_rst_becomes_markdown(source: str, text: str) -> None:
    """Docutils' own marks are read; of Sphinx's directives and roles the text stays."""
    [page] = from_rst(f"Title\n=====\n\n{source}\n".encode())
    shown = page.text.replace("## Part\n\n", "")
    assert (page.title, shown) == ("Title", text)


def test_fields_are_read() -> None:
    """The fields above or below the title are the page's."""
    for source in (
        ":status: draft\n:slug: a\n\nTitle\n=====\n\nText",
        "Title\n=====\n\n:status: draft\n:slug: a\n\nText",
        ":status: draft\n:slug: a\n\nText",
    ):
        [page] = from_rst(source.encode())
        assert page.fields == {"status": "draft", "slug": "a"}
        assert page.text == "Text"


def test_a_file_is_included() -> None:
    """What the folder has is put in."""
    [page] = from_rst(b"Title\n=====\n\n.. include:: part.rst\n", {"part.rst": "*Text*"}.get)
    assert page.text == "*Text*"


def test_deep_nesting_is_no_crash() -> None:
    """A list in a list, a thousand times, is read or refused."""
    from_rst(("\n\n".join("  " * depth + "- x" for depth in range(30))).encode())
