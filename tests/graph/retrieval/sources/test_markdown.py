import time

import pytest

from graph.retrieval.sources.markdown import from_markdown, from_mdx


def cleaned(source: str) -> str:
    [page] = from_markdown(source.encode())
    return page.text


def cleaned_mdx(source: str) -> str:
    [page] = from_mdx(source.encode())
    return page.text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("a <!-- internal: never refund --> b", "a b"),
        ("<!-- one\n\ntwo\n\n```\ncode\n```\n-->\nshown", "shown"),
        ("shown\n\n<!-- never closed: hides the rest\n\nsecret", "shown"),
        ("[//]: # (internal note)\nshown", "shown"),
        ("[comment]: <> (internal note)\nshown", "shown"),
        ("a {% comment %}internal{% endcomment %}b", "a b"),
        ("a {{/* internal */}}b", "a b"),
        ("{{< comment >}}\ninternal\n{{< /comment >}}\nshown", "shown"),
        ("shown %%internal%%", "shown"),
        ("50%% of a, 60%% of b", "50%% of a, 60%% of b"),
    ],
)
def test_comments_are_never_told(source: str, text: str) -> None:
    """What an author wrote for colleagues, in any of the ways to comment, is not in the text."""
    assert cleaned(source).strip() == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("shown <span hidden>internal</span>", "shown"),
        ("shown\n\n<div hidden>\n<div>internal</div>\n\ninternal\n</div>\n\nshown", "shown\n\nshown"),
        ('<p class="a" style="display: none">internal</p>\n\nshown', "shown"),
        ("<table hidden><tr><td>internal</td></tr></table>\n\nshown", "shown"),
        ("shown\n\n<div hidden>\n\nnever closed: hides the rest\n\ninternal", "shown"),
        ('<div class="hidden-xs">shown</div> <b data-hidden="true">too</b>', "shown **too**"),
        ('<div role="tabpanel" hidden>shown</div>', "shown"),
        ('<details hidden="until-found">shown</details>', "shown"),
    ],
)
def test_hidden_elements_are_never_told(source: str, text: str) -> None:
    """What no reader of the site sees is not in the text, with all in it."""
    assert " ".join(cleaned(source).split()) == " ".join(text.split())


@pytest.mark.parametrize(
    "code",
    [
        "```liquid\n{{ page.title }} {% if x %}\n```",
        "```html\n<!-- kept --> <script>kept</script>\n```",
        "```yaml\ntitle: x {#kept}\n:::kept\n```",
        "````md\n```js\nimport x from 'y'\n```\n````",
        "Use `{{ user.name }}` and `<Tabs>` here",
        "Type `` a ` {% b %} `` here",
        "1. Step\n\n   ```\n   {{ kept }}\n     indented\n   ```",
        "> ```\n> {% kept %}\n> ```",
    ],
)
def test_code_stays_as_it_is(code: str) -> None:
    """Nothing is cleaned away within fences and code spans, also in lists and quotations."""
    assert cleaned(code) == code


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("    {{ kept }}\n    <b>", "```\n{{ kept }}\n<b>\n```"),
        ("para\n\n\tcode {% x %}", "para\n\n```\ncode {% x %}\n```"),
        ("- item\n\n      code {{ x }}", "- item\n\n  ```\n  code {{ x }}\n  ```"),
        ("<pre>{{ kept }}\n  &lt;b&gt;</pre>", "```\n{{ kept }}\n  <b>\n```"),
        ("a <code>{{ kept }}</code> b", "a `{{ kept }}` b"),
        ("{% highlight ruby %}\nputs {{ kept }}\n{% endhighlight %}", "```ruby\nputs {{ kept }}\n```"),
        ('{{< code-toggle file="x" >}}\na: 1\n# no heading\n{{< /code-toggle >}}', "```\na: 1\n# no heading\n```"),
        ("```\n{% raw %}{{ shown }}{% endraw %}\n```", "```\n{{ shown }}\n```"),
        ("```\n{{</* figure */>}}\n```", "```\n{{< figure >}}\n```"),
    ],
)
def test_other_ways_to_write_code_become_code(source: str, text: str) -> None:
    """Indented code, HTML's, Liquid's and Hugo's become fences or spans that hold what a reader sees."""
    assert cleaned(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("import A from './a.js'\n\nText", "Text"),
        ("import {\n  a,\n  b,\n} from 'x';\n\nexport const c = {\n\n  d: 1,\n};\n\nText", "Text"),
        ("import 'style.css'\n\nText <A b={{c: 'd'}} onClick={() => e > 1} />", "Text"),
        ("import A from 'a'\n\n<Steps>\n\n  1. One\n\n     More\n\n</Steps>", "1. One\n\n   More"),
        ("import A from 'a'\n\n{/* internal */}\n\nA{' '}B {props.x} {'C'}", "A B C"),
        ("import A from 'a'\n\n<>\n\nText\n\n</>", "Text"),
        (
            "import A from 'a'\n\n<Tabs>\n <Tab label='A'>\n\n   Text\n\n   ```\n   code\n   ```\n\n </Tab>\n</Tabs>",
            "**A**\n\nText\n\n```\ncode\n```",
        ),
    ],
)
def test_mdx_keeps_what_components_wrap(source: str, text: str) -> None:
    """Imports, exports, expressions and components go, their titles and contents stay."""
    assert cleaned(source) == text
    assert cleaned_mdx(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("**limit** <Optional />", "**limit** (optional)"),
        ('Intro\n\n## Title <Badge type="info" text="beta" /> {#title}', "Intro\n\n## Title (beta)"),
        (
            '<LinkCard title="Plans" href="/plans" description="What they cost" />',
            "**[Plans](/plans)**\n\nWhat they cost",
        ),
        ('<YouTubeEmbed id="x" title="A video" />\n\nText', "Text"),
        ('<a href="/plans">Plans</a> and <Link to="/bills">bills</Link>', "[Plans](/plans) and [bills](/bills)"),
        ("<https://example.com> or <help@example.com>", "https://example.com or help@example.com"),
        ("Press <kbd>Ctrl</kbd>+<b>C</b><br/>Then", "Press Ctrl+**C**\nThen"),
        ("2 < 3 and a <b> 4 > 1", "2 < 3 and a ** 4 > 1"),
    ],
)
def test_tags_become_markdown_or_go(source: str, text: str) -> None:
    """HTML and components within Markdown become its own marks; what no reader sees goes."""
    assert cleaned(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>[x](y)</td></tr></table>",
            "| A | B |\n| --- | --- |\n| 1 | [x](y) |",
        ),
        (
            "<table>\n<thead>\n<tr><th>A<th>B\n<tbody><tr><td>`a|b`<td><ul><li>1</li><li>2</li></ul></table>",
            "| A | B |\n| --- | --- |\n| `a\\|b` | 1; 2 |",
        ),
        (
            "| A | B |\n|---|---|\n| <b>x</b><br>y | <ul><li>1</li><li>2</li></ul> |",
            "| A | B |\n|---|---|\n| **x** y | 1; 2 |",
        ),
        (
            "<table><tr><td rowspan=2>A</td><td>1</td></tr><tr><td>2</td></tr></table>",
            "| | |\n| --- | --- |\n| A | 1 |\n| A | 2 |",
        ),
    ],
)
def test_tables_stay_readable(source: str, text: str) -> None:
    """Tables, also HTML's, are pipe tables with each cell on its row's line."""
    assert cleaned(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% if a %}A{% else %}B{% endif %}", "AB"),
        ("{% assign x = 'y' %}Text {{ site.name }}{{ 'z' | upcase }}", "Text z"),
        ("{% for a in b %}\n- {{ a }}\n{% endfor %}\nText", "Text"),
        ("[a]({{ site.baseurl }}/b) [c]({% link d.md %})", "[a](/b) [c](d.md)"),
        ('{% include note.html content="Mind the gap" %}', "**Mind the gap**"),
        ("{% raw %}{{ shown }}{% endraw %}", "{{ shown }}"),
        ("{{< note >}}\nText\n{{< /note >}}", "Text"),
        ('{{< tab "Mac" >}}A{{< /tab >}}{{% glossary-term "logical path" %}}', "Alogical path"),
        (
            'See {{< tooltip text="pods" term_id="pod" >}} [x]({{< relref "a.md" >}}){{< youtube abc >}}',
            "See (pods) [x](a.md)",
        ),
        ('{% callout type="note" title="Mind" %}\nText {% .big %}\n{% /callout %}', "**Mind**\n\nText"),
        ("# {{ $frontmatter.title }}\n\n{{ 1 + 1 }}Text", "Text"),
    ],
)
def test_templates_marks_go_and_what_they_wrap_stays(source: str, text: str) -> None:
    """Liquid, Hugo's shortcodes, Markdoc and Vue leave text and the titles that authors wrote."""
    assert cleaned(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (":::note\nText\n:::", "Text"),
        (":::tip[Mind this]\nText\n:::", "**Mind this**\n\nText"),
        ("::: warning Do not\nText\n:::\nMore", "**Do not**\n\nText\n\nMore"),
        ("::::info\n:::note\nA\n:::\n::::", "A"),
        ("> [!NOTE]\n> Text", "> Text"),
        ("> [!WARNING] Mind\n> Text", "> **Mind**\n>\n> Text"),
        ('!!! note "Mind"\n    Text\n\n    - a\n\nAfter', "**Mind**\n\nText\n\n- a\n\nAfter"),
        ('=== "Mac"\n    ```\n    x\n    ```\n=== "Linux"\n    y', "**Mac**\n\n```\nx\n```\n\n**Linux**\n\ny"),
        ("[[toc]]\n\nText", "Text"),
        ("* TOC\n{:toc}\n\nText", "Text"),
        ("::youtube[A video]{#x}\n\nA :abbr[HTML]{title=x} b 10:30", "A video\n\nA HTML b 10:30"),
    ],
)
def test_containers_leave_their_title_and_text(source: str, text: str) -> None:
    """Admonitions and tabs of Docusaurus, VitePress, GitHub and MkDocs become paragraphs."""
    assert cleaned(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("```{note}\nMind `it`.\n```\nMore", "Mind `it`.\n\nMore"),
        ("```{Important}\n---\nclass: x\n---\nMind it.\n```", "Mind it."),
        (":::{admonition} Careful\n:class: warning\n\nDo it well.\n:::", "**Careful**\n\nDo it well."),
        ("````{tab-set}\n```{tab-item} Mac\nPress it.\n```\n````", "**Mac**\n\nPress it."),
        ("1. One\n\n   ```{tip}\n   Wait.\n   ```\n\n2. Two", "1. One\n\n   Wait.\n\n2. Two"),
        ("> ```{note}\n> Mind it.\n> ```", ">\n> Mind it.\n>"),
        ("```{figure} a.png\n:alt: A picture\n\nThe menu.\n```", "The menu."),
        ("A\n\n```{toctree}\n:hidden:\n\na\nb\n```\n\n```{image} a.png\n:alt: x\n```\n\nB", "A\n\nB"),
        ("```{code-block} python\n:linenos:\nrun()\n```", "```python\nrun()\n```"),
        ("```{r, echo=FALSE}\nplot(x)\n```", "```r\nplot(x)\n```"),
        ("```{dot}\na\n```", "```dot\na\n```"),
        (":::{faq} How do I pay?\nBy card.\n:::", "**How do I pay?**\n\nBy card."),
        (":::{.note}\nText\n:::", "Text"),
        ("```{warning} Never tell\nanybody.\n```", "Never tell\nanybody."),
        (
            "```{versionadded} 2.0 for all\n```\n\n```{deprecated} 3.1\n```",
            "**Added in version 2.0** for all\n\n**Deprecated since version 3.1**",
        ),
        (":::{note} See {doc}`/refunds` <!-- or not --> first.\n:::", "See [refunds](/refunds) first."),
        (
            ":::{dropdown} {octicon}`gear` Why does `{{ name }}` stay?\nText\n:::",
            "**Why does `{{ name }}` stay?**\n\nText",
        ),
        ("```{class} lead\nWrite a mail.\n```", "Write a mail."),
        ("```{raw} html\n<p>Within 30 days.</p>\n```\n\n```{raw} latex\n\\x\n```", "Within 30 days."),
        ("A\n\n```{eval-rst}\n.. warning:: Tell :kbd:`nobody`.\n```\n\nB", "A\n\nWarning\n\nTell nobody.\n\nB"),
        ("Press {kbd}`<Enter>`, {menuselection}`File --> *`, {guilabel}`&Save`", "Press `<Enter>`, `File --> *`, Save"),
        (
            "{ref}`sec-2.1`, {ref}`v1.2-notes`, {doc}`guide/first.md`, {numref}`Figure %s <f>`",
            "sec 2.1, v1.2 notes, [first](guide/first.md), Figure",
        ),
        ("{ref}`a` {math}`x^2`, {cite:p}`b`, {py:func}`c.d`", "a `x^2`, `b`, `c.d`"),
        ("(a)=\n- one\n  % secret\n\n> % secret\n> quoted\n\n  (inner)=\n  ^^^", "- one\n\n>\n> quoted"),
        (
            "See {ref}`a menu <menu>`, {doc}`Roles </a/b>`, {ref}`first-steps`.",
            "See a menu, [Roles](/a/b), first steps.",
        ),
        ("Press {kbd}`Ctrl`, {guilabel}`OK` in {file}`a.cfg`; {abbr}`TLS (secret)`", "Press Ctrl, OK in `a.cfg`; TLS"),
        ("Type `/{name}` or {name}`x`", "Type `/{name}` or {name}`x`"),
        ("(menu)=\n## Menu\n\nSee {ref}`menu`\n\n% told to nobody\n\n+++\n\nEnd", "See menu\n\nEnd"),
        ("% of users, without any of Sphinx's marks", "% of users, without any of Sphinx's marks"),
    ],
)
def test_directives_and_roles_of_myst_leave_what_they_show(source: str, text: str) -> None:
    """What Sphinx's Markdown wraps stays; its comments, targets and lists of pages go; code stays code."""
    assert cleaned(source) == text


def test_stars_of_the_text_stay() -> None:
    """Only those go that an image stood between."""
    assert cleaned("Shown as **** **** **** 1234.") == "Shown as **** **** **** 1234."
    assert cleaned("Card ****1234") == "Card ****1234"
    assert cleaned("A **junior account**** for all") == "A **junior account for all"
    assert cleaned("Text **![](a.png)** more") == "Text more"


def test_lists_that_begin_in_an_item_stay_in_it() -> None:
    """The spaces after an item's mark say where its further lines begin."""
    assert cleaned("*   - A\n    - B\n*   - C") == "*   - A\n    - B\n*   - C"


@pytest.mark.parametrize(
    "source",
    [
        ":::{note}\n" * 20_000,
        "\n".join(f"{':' * ticks}{{note}}" for ticks in range(3, 2000)),
        "\n".join(f"{'> ' * depth}:::{{note}}" for depth in range(1, 1000)),
        "\n".join(f"{'  ' * depth}:::{{note}}" for depth in range(1, 1000)),
    ],
    ids=["open", "longer", "quoted", "indented"],
)
def test_containers_that_nothing_closes_take_no_time(source: str) -> None:
    """Each is looked for once, not once for each of those that it might be in."""
    began = time.process_time()
    cleaned(source)
    assert time.process_time() - began < 60


def test_directives_in_each_other_are_bounded() -> None:
    """What is deeper than any author writes is code, and takes no time."""
    depth = 400
    opening = "".join(f"{'`' * (3 + depth - level)}{{note}}\n" for level in range(depth))
    closing = "".join(f"{'`' * (4 + level)}\n" for level in range(depth))
    text = cleaned(f"{opening}Text\n{closing}")
    assert text.startswith("`")
    assert "Text" in text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("## Setup {#setup}\n\nText", "## Setup\n\nText"),
        ('## Setup {: #setup .x}\n\n[a](b){:target="_blank"} c', "## Setup\n\n[a](b) c"),
        ("![Alt](a.png){width=300}\n\nText {.class}", "Text"),
        ("Text {name} of {a: b}", "Text {name} of {a: b}"),
    ],
)
def test_lists_of_attributes_go(source: str, text: str) -> None:
    """Anchors and classes in braces go; other braces are text."""
    assert cleaned(f"Intro\n\n{source}") == f"Intro\n\n{text}"


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("See [[Plans]] and [[Plans|our plans]]", "See [Plans](Plans) and [our plans](Plans)"),
        ("[[Plans#Prices]] ![[plan.png]]", "[Plans: Prices](Plans)"),
        ("[[#Prices]]", "Prices"),
    ],
)
def test_wikilinks_become_links(source: str, text: str) -> None:
    """A wikilink is a link with its alias or its page's name; an embedded image is nothing."""
    assert cleaned(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("Text\n\n![A screenshot of the page](a.png)\n\nMore", "Text\n\nMore"),
        ("Click ![Save](save.png) now", "Click Save now"),
        ("Click ![save.png](save.png) now", "Click now"),
        ("![a](data:image/png;base64,AAAA)\nText", "Text"),
        ("[![Buy now](b.png)](/buy) [![x](t.png)](full.png)", "[Buy now](/buy)"),
        ("a <img src='x' alt='Save'/> b", "a Save b"),
    ],
)
def test_images_are_what_they_say_within_a_sentence(source: str, text: str) -> None:
    """An image in a sentence is its description; one that stands alone is nothing."""
    assert cleaned(source) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("[`a`][] and [b][]\n\n[`A`]: /a", "[`a`](/a) and b"),
        ("[a][1] and [B]\n\n[1]: /a 'T'\n[b]: <https://b.example>", "[a](/a) and [B](https://b.example)"),
        ("Text[^1] more\n\n[^1]: The note.", "Text more\n\nThe note."),
        ("Title\n=====\n\nPart\n----\n\nText\n\n---\n\nEnd", "## Part\n\nText\n\nEnd"),
        ("term\n: {{< new-in 1.2 />}}\n: What it means", "**term**: What it means"),
        (r"a \{b\} \<c\> \_d\_ e&nbsp;&lt;f&gt;", "a {b} <c> _d_ e <f>"),
        (":material-check: yes ==marked== ~~no~~", "yes marked ~~no~~"),
        ("a {>>ask legal<<}{--old--}{++new++} {~~two~>three~~} {==marked==}", "a new three marked"),
        ("Press ++ctrl+c++ in C++ and HTML\n\n*[HTML]: a language", "Press ctrl+c in C++ and HTML"),
    ],
)
def test_less_known_marks_become_common_ones(source: str, text: str) -> None:
    """References, footnotes, underlined headings, definitions, escapes and entities are read."""
    assert cleaned(source).strip() == text


@pytest.mark.parametrize(
    ("source", "title", "text"),
    [
        ("---\ntitle: Given\n---\n# Given\n\nText", "Given", "Text"),
        ("---\nseo:\n  title: From SEO\n---\nText", "From SEO", "Text"),
        ('+++\ntitle = "From TOML"\n+++\n# Other\n\nText', "From TOML", "# Other\n\nText"),
        ('{"title": "From JSON"}\n\nText', "From JSON", "Text"),
        ("# The `code` [link](x) **title** {#a}\n\nText", "The code link title", "Text"),
        ("# Use `<head>` and `a_b` in *C*\n\nText", "Use <head> and a_b in C", "Text"),
        ("## First\n\nText", "First", "Text"),
        ("Text\n\n## Part\n\nMore", None, "Text\n\n## Part\n\nMore"),
        ("```\n# no title\n```\n\n# Title\n", "Title", "```\n# no title\n```"),
    ],
)
def test_title_is_of_front_matter_or_the_first_heading(source: str, title: str | None, text: str) -> None:
    """The heading that is the title is not in the text again; comments in code are no headings."""
    [page] = from_markdown(source.encode())
    assert (page.title, page.text) == (title, text)


@pytest.mark.parametrize(
    "hidden",
    [
        "<div hidden>secret <div>more</div> secret</div>", '<div style="display: none">\n\nsecret\n\n</div>',
        "<details hidden><summary>S</summary>\n\nsecret\n\n</details>", "<DIV HIDDEN>secret</DIV>",
        '<span style="color: red; visibility:hidden">secret</span>', "<ul hidden><li>secret</li></ul>",
        "<div hidden={true}>secret</div>", "<p style={{display: 'none'}}>secret</p>",

        '<section hidden="">secret</section>',
    ],
)  # fmt: skip
def test_hidden_elements_are_left_out(hidden: str) -> None:
    """What a page hides is not told, whether it is written as in HTML or as in JSX."""
    for found in (cleaned, cleaned_mdx):
        assert found(f"# T\n\na\n\n{hidden}\n\n<div>b</div>").split() == ["a", "b"]


@pytest.mark.parametrize(
    "seen",
    [
        '<div class="hidden">a</div>', "<div hidden={false}>a</div>", '<div hidden="until-found">a</div>',
        '<div role="tabpanel" hidden>a</div>', '<p style="text-decoration: none">a</p>',
    ],
)  # fmt: skip
def test_elements_that_only_look_hidden_are_read(seen: str) -> None:
    """A class, a panel of tabs, and what a search unfolds stay."""
    assert "a" in cleaned_mdx(seen).split()


def test_snippets_of_mkdocs_are_put_in() -> None:
    """A part of a file is left out, since it is not known which."""
    source = b'a\n\n--8<-- "terms.md"\n\n-8<- "terms.md:one"\n\nb'
    [page] = from_markdown(source, {"terms.md": "Within 30 days."}.get)
    assert page.text.split("\n\n") == ["a", "Within 30 days.", "b"]


def test_what_forges_the_marks_of_set_aside_code_is_text() -> None:
    """Private use characters, also as references and escapes, bring no code of elsewhere into the text."""
    forged = (
        "`secret`\n\n\ue000i0\ue001 &#xE000;i0&#xE001; &amp;#xE000;i0&amp;#xE001; <h2>&amp;#57344;i0&amp;#57345;</h2>"
    )
    [page] = from_markdown(f'---\ntitle: "\\uE000i0\\uE001"\n---\n{forged}\n\n{{{{ page.title }}}}'.encode())
    assert page.text.count("secret") == 1
    assert "\ue000" not in page.text + str(page.title)


def test_tabs_on_one_line_stand_apart() -> None:
    """Each begins with its label; what stands in a sentence keeps its words apart."""
    source = '<Tabs><TabItem label="Mac">Mac text</TabItem><TabItem label="Windows">Other text</TabItem></Tabs>'
    assert cleaned_mdx(source) == "**Mac**\n\nMac text\n\n**Windows**\n\nOther text"
    assert cleaned_mdx('See <Tooltip title="a fee">costs</Tooltip> first.') == "See (a fee) costs first."
    assert cleaned_mdx('| a |\n| --- |\n| <Tab label="X">b</Tab> |') == "| a |\n| --- |\n| (X) b |"
