import time

import pytest

from graph.retrieval.sources import UnreadableError
from graph.retrieval.sources.html_pages import from_html


def text_of(body: str) -> str:
    [page] = from_html(body.encode())
    return page.text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<p>One\n two<p>Three<br>four", "One two\n\nThree\nfour"),
        ("<h2>A <small>b</small></h2><p>c &amp; &lt;d&gt;", "## A b\n\nc & <d>"),
        ("<ul><li>a<li>b<ol start=3><li>c<li><p>d<p>e</ol></ul>", "- a\n\n- b\n\n  3. c\n\n  4. d\n\n     e"),
        ("<blockquote><p>a<p>b</blockquote>", "> a\n>\n> b"),
        ("<pre><code class='language-js'>a &lt; b\n  c\n</code></pre>", "```js\na < b\n  c\n```"),
        ("Use <code>a ` b</code>, <b>c </b>and <em>d</em>", "Use ``a ` b``, **c** and *d*"),
        ("<a href='/x y'>a <b>b</b></a> <a href='#c'>c</a> <a href='javascript:d()'>d</a>", "[a **b**](/x%20y) c d"),
        ("<dl><dt>Term<dd>What it means</dl>", "**Term**\n\nWhat it means"),
        ("<details><summary>More</summary>Text</details>", "**More**\n\nText"),
        (
            "<p># no heading</p><p>- no list</p><p>> no quotation</p>",
            "\\# no heading\n\n\\- no list\n\n\\> no quotation",
        ),
        ("<div>a<div>b</div>c</div>", "a\n\nb\n\nc"),
    ],
)
def test_html_becomes_markdown(body: str, text: str) -> None:
    """Headings, paragraphs, lists, quotations, code and links are Markdown's, with end tags left out or not."""
    assert text_of(body) == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<table><tr><th>A<th>B<tr><td>1<td>2|3</table>", "| A | B |\n| --- | --- |\n| 1 | 2\\|3 |"),
        (
            "<table><tr><th colspan=2>A<tr><td rowspan=2>1<td>2<tr><td>3</table>",
            "| A | |\n| --- | --- |\n| 1 | 2 |\n| 1 | 3 |",
        ),
        ("<table><tr><td><p>one</p><p>column</p></table>", "one\n\ncolumn"),
        ("<table><tr><td>x<td><table><tr><td>y<td>z</table></table>", "x\n\n| | |\n| --- | --- |\n| y | z |"),
    ],
)
def test_tables_are_pipe_tables_unless_they_lay_out_a_page(body: str, text: str) -> None:
    """A cell is on its row's line, in each row that it spans; a table of one column is its blocks."""
    assert text_of(body) == text


@pytest.mark.parametrize(
    "body",
    [
        "<p>Text</p><!-- internal: refund at once -->",
        "<p>Text</p><!-- internal, never closed",
        "<p>Text</p><script>internal('</p>')</script><style>.internal{}</style>",
        "<p>Text</p><script>internal",
        "<p>Text</p><div hidden>internal</div><p style='display: none'>internal</p>",
        "<p>Text</p><nav>internal</nav><header>internal</header><footer>internal</footer>",
        "<p>Text</p><div role=navigation>internal</div><ul class='breadcrumbs x'><li>internal</ul>",
        "<p>Text</p><template>internal</template><noscript>internal</noscript><svg><text>internal</text></svg>",
        "<p>Text</p><![if internal]><p alt='internal'></p><a internal",
        "<p>Text<img src='data:image/png;base64,internal'></p>",
        "<aside>internal</aside><main><p>Text</p></main><p>internal</p>",
        "<article>internal</article><article><p>Text</p><!-- longer --> </article>".replace("internal", ""),
    ],
)
def test_what_no_reader_sees_is_not_in_the_text(body: str) -> None:
    """Comments, scripts, hidden elements, navigation, and all beside the main part are left out."""
    assert text_of(body) == "Text"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<main><aside>Mind the gap</aside></main>", "Mind the gap"),
        ("<div role=tabpanel hidden>Second tab</div>", "Second tab"),
        ("<div hidden=until-found>Folded</div>", "Folded"),
        ("<h3><button>Can I?</button></h3>Yes", "### Can I?\n\nYes"),
        ("<form><p>All in a form</p></form>", "All in a form"),
        ("<article><header><p>By us</p></header>Text</article>", "By us\n\nText"),
        ("Click <img alt=Save src=s.png> now <img alt='A picture' src=p.png>", "Click Save now A picture"),
    ],
)
def test_what_readers_see_is_in_the_text(body: str, text: str) -> None:
    """Notes, tabs, folded answers and images within sentences stay."""
    assert text_of(body) == text


def test_head_becomes_fields() -> None:
    """Title, language, canonical address, robots and where a stub leads are fields."""
    [page] = from_html(
        b"<html lang=de><title> A \n b </title>"
        b"<link rel='alternate canonical' href=/a><meta name=Robots content=noindex>"
        b"<meta property=og:title content=B><meta http-equiv=refresh content='0;URL=/c'>"
        b"<body><svg><title>no</title></svg>Text"
    )
    assert page.fields == {
        "lang": "de", "title": "A b", "canonical": "/a", "robots": "noindex", "og:title": "B", "refresh": "/c",
    }  # fmt: skip
    assert (page.title, page.text) == ("B", "Text")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"<meta charset=iso-8859-1>caf\xe9 \x80", "café €"),
        ("\ufeffcafé".encode("utf-16-le"), "café"),
        ("<meta http-equiv=content-type content='text/html; charset=shift_jis'>返金".encode("shift_jis"), "返金"),
        ("café".encode(), "café"),
        (b"caf\xe9", "café"),
    ],
)
def test_pages_are_decoded_as_browsers_do(content: bytes, text: str) -> None:
    """The byte order mark counts, then the page's own word, then UTF-8, then Windows-1252."""
    assert from_html(content)[0].text == text


def test_an_unknown_charset_is_named() -> None:
    """A page in a charset that nobody knows is refused by its name."""
    with pytest.raises(UnreadableError, match="'klingon'"):
        from_html(b"<meta charset=klingon>Text")


@pytest.mark.parametrize(
    "body",
    [
        "<div>" * 1_500 + "Text",
        "<ul><li>" * 3_000 + "Text",
        "<table><tr><td>" * 1_500 + "Text",
        "<a " * 30_000,
        "<!--" * 25_000,
        "<!--" + "<script" * 15_000,
        "<![x" * 25_000,
        "<table><tr>" + "<td rowspan=99 colspan=99>x" * 500,
        "&" * 100_000,
        "<b>" * 8_000,
        "</b>" * 30_000,
        "`" * 50_000,
    ],
)
def test_hostile_pages_take_no_time(body: str) -> None:
    """No mark, repeated without its end, takes more than linear time."""
    begun = time.process_time()
    from_html(body.encode())
    assert time.process_time() - begun < 60
