import time

import pytest

from graph.retrieval.sources import UnreadableError
from graph.retrieval.sources.links import with_links
from graph.retrieval.sources.markdown import from_markdown, from_mdx

PIECES = [
    "`", "``` ", "` `` ", "<!-- ", "{/* ", "{# ", "{% comment %}", "{% raw %}", "{{< ", '{{< "', "{{<x>}}", "{% ",
    "{{ ", "{{{", "<a ", '<a "', "<a {", "<a {{", "<A b={() => {", "<ul>", "<table>", "<pre>", "<code>", "<svg>",
    "[", "![", "[[", "[a](", "[a][", "[^a]", "[a]: b\n", "**", ":::\n", "::: x\n", "> ", "- ", "  - \n", "!!! x\n",
    "{.a ", "{#", "\\`", "&#x", "| a ", "|", "%%", " %% ", "import a\n", "export {\n", "$", "<b>", "</b>", "<br>",
    "<p>x</p>", ":a[", "==a", "---\n", "a\n: b\n", "    x\n\n", "\n\n\n", "#", "# a #\n", "{{< highlight >}}",
    "{% for %}", "<<< @/a\n", "\t",
]  # fmt: skip


@pytest.mark.parametrize("piece", PIECES)
def test_time_grows_with_the_text_alone(piece: str) -> None:
    """No mark, repeated without its end, takes more than linear time: 20,000 characters are read within seconds."""
    source = ("x\n" + piece * (20_000 // len(piece))).encode()
    begun = time.process_time()
    for parser in (from_markdown, from_mdx):
        try:
            with_links(parser(source)[0].text, lambda target: target)
        except UnreadableError:
            continue
    assert time.process_time() - begun < 60


@pytest.mark.parametrize(
    "front_matter",
    [
        "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nd: [*c,*c]",
        "a: &a {x: y}\nb: {<<: [*a, *a]}",
        "a: " + "[" * 20,
        "a: " + "[" * 21 + "]" * 21,
        "- " * 21 + "x",
        "a: " + "{a: " * 21,
        "a: " + "x" * 100_000,
        "? [a]\n: b\n? {c: d}\n: e",
        "a: !!python/object/apply:os.system [id]",
        "a: 2024-13-45",
        "a: \x01",
    ],
)
def test_front_matter_bombs_are_refused(front_matter: str) -> None:
    """Aliases, endless nesting, odd keys and tags of Python are errors that say what is wrong, in no time."""
    begun = time.process_time()
    with pytest.raises(UnreadableError, match="front matter"):
        from_markdown(f"---\n{front_matter}\n---\nText".encode())
    assert time.process_time() - begun < 60


def test_files_that_include_each_other_end() -> None:
    """An endless inclusion is an error, not an endless text."""
    for target in ("{% include a.md %}", "<!--@include: a.md-->", "{% include a.md %}{% include a.md %}"):
        with pytest.raises(UnreadableError, match="include"):
            from_markdown(target.encode(), lambda _, target=target: target)
