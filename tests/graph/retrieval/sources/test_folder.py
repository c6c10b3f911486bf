import os
import re
from pathlib import Path

import pytest

from graph.errors import KnowledgeError
from graph.retrieval.sources import Deleted, Document, LeftOut, Page, Unchanged, html_tree, plain_text, tree
from graph.retrieval.sources.code import MAX_SPAN
from graph.retrieval.sources.folder import Folder
from graph.retrieval.sources.front_matter import MAX_CHARACTERS
from graph.retrieval.sources.markdown import MAX_INCLUDE_DEPTH, MAX_INCLUDED
from graph.retrieval.sources.parsers import MAX_BYTES
from graph.retrieval.sources.tables import MAX_CELLS
from graph.retrieval.sources.tree import MAX_FILES
from harness.trees import company, read, write


def test_docusaurus_tree_is_read(tmp_path: Path) -> None:
    """Components, admonitions and imports go, a partial is put in, links lead to public addresses."""
    root = write(tmp_path, {
        "docusaurus.config.js": "",
        "package.json": "{}",
        "README.md": "# About this repository",
        "node_modules/x/readme.md": "# x",
        "static/a.html": "<p>static</p>",
        "docs/_shared.mdx": "Ask **{props.who}** first.",
        "docs/refunds.md": "---\ntitle: Refunds\ntags: [money]\n---\nimport Shared from './_shared.mdx';\n\n"
        "<Shared />\n\n:::tip[Fast]\nSee [plans](./billing/plans.mdx#prices) or [none](./gone.md).\n:::\n",
        "docs/billing/plans.mdx": "---\nslug: /prices\nsidebar_label: Plans\n---\n\n# Plans and prices\n\n"
        "<Tabs><TabItem label='A'>12 €</TabItem></Tabs>\n",
        "docs/billing/draft.md": "---\ndraft: true\n---\nSecret",
    })  # fmt: skip
    documents, left_out = read(root, url="https://help.example.com/{path}")
    assert set(documents) == {"docs/refunds", "docs/billing/plans"}
    refunds, plans = documents["docs/refunds"], documents["docs/billing/plans"]
    assert refunds.title == "Refunds"
    assert refunds.text == "Ask first.\n\n**Fast**\n\nSee [plans](https://help.example.com/prices#prices) or none."
    assert (plans.title, plans.url) == ("Plans", "https://help.example.com/prices")
    assert refunds.dead_links == ("./gone.md",)
    assert plans.dead_links == ()
    assert refunds.labels == {"folder": ("docs",), "tags": ("money",)}
    assert plans.labels == {"folder": ("docs", "docs/billing", "billing")}
    assert left_out["docs/billing/draft.md"].reason == "a draft"
    assert {"README.md", "node_modules/", "static/", "docs/_shared.mdx"} <= set(left_out)
    assert not any(each.is_fault for each in left_out.values())


def test_vitepress_tree_is_read_in_its_languages(tmp_path: Path) -> None:
    """Folders name languages, included files are put in, Vue's parts go."""
    root = write(tmp_path, {
        ".vitepress/config.ts": "",
        "index.md": "---\nlayout: home\nhero:\n  name: Home\n---\n",
        "guide/setup.md": "<script setup>\nimport A from './A.vue'\n</script>\n\n# Setup {#setup}\n\n"
        "::: details More\n<A :b=\"1\"/>\n"
        "Text {{ 1 + 1 }}\n:::\n\n<!--@include: ../parts/note.md-->\n\n<<< @/snippets/a.js{1}\n",
        "de/guide/setup.md": "# Einrichten\n\nText, [mehr](/guide/setup)",
        "parts/note.md": "A note.",
        "snippets/a.js": "run()",
    })  # fmt: skip
    documents, left_out = read(root, url="https://example.com/{path}", language="en")
    assert documents["guide/setup"].text == "**More**\n\nText\n\nA note.\n\n```js\nrun()\n```"
    german = documents["de/guide/setup"]
    assert (german.title, german.language, german.labels["folder"]) == ("Einrichten", "de", ("guide",))
    assert german.text == "Text, [mehr](https://example.com/de/guide/setup)"
    assert documents["guide/setup"].language == "en"
    assert not left_out["index.md"].is_fault


def test_jekyll_tree_is_read(tmp_path: Path) -> None:
    """Collections are read, includes are put in with their parameters, drafts and redirects are left out."""
    root = write(tmp_path, {
        "_config.yml": "title: Help",
        "_includes/note.html": '<div class="note"><b>{{ include.title }}</b>: {{ include.content }}</div>',
        "_layouts/default.html": "<html>{{ content }}</html>",
        "_articles/sync.md": '---\ntitle: "Sync"\npermalink: /help/sync/\n---\n'
        '{% include note.html title="Note" content="Be online" %}\n'
        "{% if site.beta %}\nTurn it on.\n{% endif %}\n\n[Old]({{ site.baseurl }}{% link _articles/old.md %})\n",
        "_articles/old.md": "---\ntitle: Old\nredirect_to: /help/sync/\n---\n",
        "_articles/off.md": "---\ntitle: Off\npublished: false\n---\nSecret",
        "_drafts/new.md": "Secret",
    })  # fmt: skip
    documents, left_out = read(root, url="https://example.com/{path}")
    assert documents["_articles/sync"].text == "**Note**: Be online\n\nTurn it on.\n\nOld"
    assert documents["_articles/sync"].url == "https://example.com/help/sync/"
    assert left_out["_articles/old.md"].reason == "a redirect to /help/sync/"
    assert left_out["_articles/off.md"].reason == "a draft (published: false)"
    assert set(documents) == {"_articles/sync"}


def test_hugo_tree_is_read(tmp_path: Path) -> None:
    """Shortcodes go, includes are put in, TOML and JSON front matter count, headless parts are left out."""
    root = write(tmp_path, {
        "hugo.toml": "",
        "layouts/index.html": "<p>{{ .Title }}</p>",
        "archetypes/default.md": "---\ntitle: x\n---\n",
        "content/en/_common/pay.md": "Pay by card.",
        "content/en/billing/_index.md": "+++\ntitle = 'Billing'\n+++\nAll about bills.",
        "content/en/billing/pay.md": '+++\ntitle = "Pay"\n[params]\nx = 1\n+++\n{{% include "_common/pay.md" %}}\n\n'
        '{{< note >}}\nSee [bills]({{< relref "/billing" >}}).\n{{< /note >}}\n',
        "content/de/billing/pay.md": '{"title": "Zahlen", "draft": false}\n\nMit Karte.',
        "content/en/billing/gone.md": "---\ntitle: Gone\nexpiryDate: 2020-01-01\n---\nOld",
    })  # fmt: skip
    documents, left_out = read(root, url="https://example.com/{path}")
    assert documents["content/en/billing/pay"].text == (
        "Pay by card.\n\nSee [bills](https://example.com/content/en/billing)."
    )
    assert documents["content/de/billing/pay"].language == "de"
    assert documents["content/en/billing/pay"].labels["folder"] == ("billing",)
    assert left_out["content/en/billing/gone.md"].reason == "expired (expiryDate)"
    assert set(documents) == {"content/en/billing/_index", "content/en/billing/pay", "content/de/billing/pay"}


def test_html_site_is_read(tmp_path: Path) -> None:
    """The main part of each page is read, at its canonical address; redirect stubs and noindex pages are left out."""
    root = write(tmp_path, {
        "index.html": "<title>Help</title><nav><a href=a>A</a></nav><main><h1>Help</h1>"
        "<p>Start <a href='billing/pay.html'>here</a></main>",
        "billing/pay.html": "<html lang=nl-NL><head><link rel=canonical href='https://example.com/pay'>"
        "<title>Pay | Site</title>"
        "<script>secret()</script></head><body><header>Menu</header>"
        "<h2>How</h2><p>By card.</p><!-- internal --></body></html>",
        "old.html": "<meta http-equiv=refresh content='0; url=/new'><p>Moved</p>",
        "cart.htm": "<meta name=robots content='noindex, follow'><p>Cart</p>",
    })  # fmt: skip
    documents, left_out = read(root)
    assert documents["index"].text == "Start [here](https://example.com/pay)"
    pay = documents["billing/pay"]
    assert (pay.title, pay.language, pay.text) == ("Pay | Site", "nl", "## How\n\nBy card.")
    assert left_out["old.html"].reason == "a redirect to /new"
    assert "noindex" in left_out["cart.htm"].reason


def test_text_files_are_read(tmp_path: Path) -> None:
    """A first line alone is the title; else the file's name is."""
    root = write(tmp_path, {
        "pay-by-card.txt": "Cards are taken.\nSo is cash.",
        "refunds.txt": "Refunds\n=======\n\nWithin 30 days.",
        "robots.txt": "User-agent: *",
        "picture.png": b"\x89PNG",
    })  # fmt: skip
    documents, left_out = read(root)
    assert {document.title: document.text for document in documents.values()} == {
        "Pay by card": "Cards are taken.\nSo is cash.",
        "Refunds": "Within 30 days.",
    }
    assert list(left_out) == ["robots.txt"]


@pytest.mark.parametrize(
    ("files", "ids"),
    [
        ({"a.md": "---\nid: own-name\n---\nA"}, ["own-name"]),
        ({"x/a.md": "---\nid: 4409759302290\n---\nA"}, ["4409759302290"]),
        ({"x/a.md": "---\nid: intro\n---\nA", "y/a.md": "---\nid: intro\n---\nA"}, ["x/a", "y/a"]),
        ({"Über uns/a b.md": "A"}, ["Über uns/a b"]),
        ({"a.md": "A", "a.html": "<p>A"}, ["a", "a.md"]),
        ({"a.de.md": "A", "a.md": "A"}, ["a", "a.de"]),
    ],
)
def test_ids_are_the_front_matters_or_the_paths(tmp_path: Path, files: dict[str, str], ids: list[str]) -> None:
    """An id that only one article has is its own; else the path is, with its suffix where two have the same."""
    assert sorted(read(write(tmp_path, files))[0]) == sorted(ids)


@pytest.mark.parametrize(
    ("front_matter", "url"),
    [
        ("html_url: https://other.example/1", "https://other.example/1"),
        ("slug: card", "https://help.example.com/en/pay/card"),
        ("slug: /card", "https://help.example.com/en/card"),
        ("permalink: /en/pay/x/", "https://help.example.com/en/pay/x/"),
        ("url: https://other.example/2", "https://other.example/2"),
        ("title: x", "https://help.example.com/en/pay/by%20card"),
    ],
)
def test_url_is_the_front_matters_or_of_the_pattern(tmp_path: Path, front_matter: str, url: str) -> None:
    """An address, a slug or a permalink counts before the path."""
    root = write(tmp_path, {"pay/by card.md": f"---\n{front_matter}\n---\nText"})
    assert next(iter(read(root, url="https://help.example.com/en/{path}")[0].values())).url == url


@pytest.mark.parametrize("pattern", ["https://example.com/{title}", "example.com/{path}", "https://example.com/{}"])
def test_a_pattern_that_cannot_be_filled_is_refused(tmp_path: Path, pattern: str) -> None:
    """The error names the pattern, and what it may hold."""
    with pytest.raises(KnowledgeError, match=r"may have in braces \{path\}"):
        Folder(tmp_path, company(url=pattern))


def test_changes_are_told_by_revision(tmp_path: Path) -> None:
    """What the caller knows is unchanged, what is gone is deleted, and a link's new address is a change."""
    root = write(tmp_path, {"a.md": "See [b](b.md)", "b.md": "---\nslug: one\n---\nB", "c.md": "C"})
    folder = Folder(root, company(url="https://example.com/{path}"))
    known = {each.id: each.revision for each in folder.changes({}) if isinstance(each, Document)}
    assert list(folder.changes(known)) == [Unchanged("a"), Unchanged("b"), Unchanged("c")]
    write(root, {"b.md": "---\nslug: two\n---\nB"})
    (root / "c.md").unlink()
    changes = list(folder.changes(known))
    assert [type(change) for change in changes] == [Document, Document, Deleted]
    assert changes[2] == Deleted("c")


@pytest.mark.parametrize(("path", "reason"), [("gone", "does not exist"), ("file.md", "is a file")])
def test_a_folder_that_is_none_is_not_an_empty_one(tmp_path: Path, path: str, reason: str) -> None:
    """A folder that does not exist and a file raise errors that say so; an empty folder has no articles."""
    write(tmp_path, {"file.md": "Text"})
    with pytest.raises(KnowledgeError, match=reason):
        list(Folder(tmp_path / path, company()).changes({}))
    (tmp_path / "empty").mkdir()
    assert list(Folder(tmp_path / "empty", company()).changes({})) == []


def test_all_bad_files_are_named_at_once(tmp_path: Path) -> None:
    """Each bad file is one fault with its line, and the good ones are read."""
    root = write(tmp_path, {
        "good.md": "Text",
        "colon.md": "---\ntitle: a: b\n---\nText",
        "open.md": "---\ndraft: true\nSecret",
        "toml.md": "+++\na = 1\nb =\n+++\nText",
        "json.md": '{"title": \n"x",,}\nText',
        "bytes.md": b"One\nTwo \xff",
        "nul.txt": b"One\n\nTwo\0",
        "list.md": "---\n- a\n---\nText",
        "empty.md": "",
        "alias.md": "---\na: &a [x, x]\nb: [*a, *a]\n---\nText",
        "include.md": "Text\n\n{% include ../../etc/passwd %}",
    })  # fmt: skip
    documents, left_out = read(root)
    assert set(documents) == {"good", "include"}
    assert set(left_out) == {
        "colon.md:2", "open.md:1", "toml.md:3", "json.md:2", "bytes.md:2", "nul.txt:3", "list.md:2", "empty.md",
        "alias.md:3", "include.md:3",
    }  # fmt: skip
    assert all(each.is_fault for each in left_out.values())
    assert left_out["bytes.md:2"].reason == "not valid UTF-8: save the file as UTF-8"


def test_links_in_the_tree_are_followed_within_it_alone(tmp_path: Path) -> None:
    """Kubernetes' links to a hidden folder are read; links out of the folder are faults; cycles end."""
    outside = write(tmp_path / "outside", {"secret.md": "Secret"})
    root = write(tmp_path / "root", {"..2024/a.md": "A", "..2024/sub/b.md": "B", "real/c.md": "C"})
    (root / "..data").symlink_to("..2024")
    (root / "a.md").symlink_to("..data/a.md")
    (root / "sub").symlink_to("..data/sub")
    (root / "again").symlink_to("real")
    (root / "real/loop").symlink_to("..")
    (root / "out").symlink_to(outside)
    (root / "out.md").symlink_to(outside / "secret.md")
    (root / "nowhere.md").symlink_to("gone.md")
    documents, left_out = read(root)
    assert sorted(documents) == ["a", "real/c", "sub/b"]
    assert {name for name, each in left_out.items() if each.is_fault} == {"out", "out.md", "nowhere.md"}


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Files that are no files, too large or too deep are faults, and no file stops the others."""
    root = write(tmp_path, {"good.md": "Text", "large.md": b"x" * (5 * 1024 * 1024 + 1), f"{'d/' * 40}deep.md": "Text"})
    os.mkfifo(root / "pipe.md")
    documents, left_out = read(root)
    assert list(documents) == ["good"]
    assert "5 MiB" in left_out["large.md"].reason
    assert any("folders deep" in each.reason for each in left_out.values())
    assert "pipe.md" in left_out


def test_companys_patterns_leave_articles_out(tmp_path: Path) -> None:
    """Patterns by field, title or path leave articles out, whatever the letters' case."""
    root = write(tmp_path, {
        "a.md": "---\ntitle: 'INTERNAL: prices'\n---\nSecret",
        "agents/b.md": "Secret",
        "c.md": "---\naudience: [Partners, staff-only]\n---\nSecret",
        "d.md": "---\ntitle: Internally displaced\n---\nText",
    })  # fmt: skip
    patterns = {"title": ("internal:*",), "path": ("agents/*",), "audience": ("staff-*",)}
    documents, left_out = read(root, leave_out=patterns)
    assert list(documents) == ["d"]
    assert left_out["a.md"].reason == "the company leaves it out (title: internal:*)"
    assert not any(each.is_fault for each in left_out.values())
    assert isinstance(left_out["c.md"], LeftOut)


def test_files_of_a_project_are_no_articles(tmp_path: Path) -> None:
    """Files about a project, templates and contents are left out by their names, articles with like names are read."""
    root = write(tmp_path, {
        "package.json": "{}",
        "README.md": "x", "LICENSE.md": "x", "CLAUDE.md": "x", "robots.txt": "x",
        "help/LICENSE": "x", "help/SUMMARY.md": "x", "help/TEMPLATE.md": "x", "help/article-template.md": "x",
        "help/README.md": "Text", "help/template.md": "Text", "help/templates/a.md": "Text", "help/security.md": "Text",
        "snippets/a.md": "x", "help/snippets/a.md": "Text", "help/security-review.md": "Text",
    })  # fmt: skip
    documents, left_out = read(root)
    assert sorted(documents) == [
        "help/README", "help/security", "help/security-review", "help/snippets/a", "help/template", "help/templates/a",
    ]  # fmt: skip
    assert documents["help/README"].title == "Help"
    assert len(left_out) == 8


def test_the_docs_state_the_limits() -> None:
    """Each limit of a folder stands in the docs with its value."""
    text = (Path(__file__).parents[4] / "docs/help-centres.md").read_text(encoding="utf-8")
    limits = (MAX_BYTES // 2**20, MAX_FILES, tree.MAX_DEPTH, MAX_CHARACTERS, MAX_INCLUDED, MAX_INCLUDE_DEPTH)
    for limit in (*limits, html_tree.MAX_DEPTH, MAX_SPAN, MAX_CELLS):
        assert re.search(rf"\| .*\b{limit:,}\b", text), limit


def test_files_that_word_and_libreoffice_lock_are_none(tmp_path: Path) -> None:
    """They lie beside a document while somebody has it open."""
    root = write(tmp_path, {"~$a.docx": b"\x05", ".~lock.a.docx#": "", "~$b.csv": "", "a.md": "# A\n\nText."})
    documents, left_out = read(root)
    assert (set(documents), left_out) == ({"a"}, {})


def test_rows_that_are_left_out_are_named(tmp_path: Path) -> None:
    """By their number, as a spreadsheet has it."""
    root = write(tmp_path, {"faq.csv": "title,body,draft\nA,Text.,\nB,Text.,yes\n,,\nC,,\nD,More.,\n"})
    documents, left_out = read(root)
    assert {document.title for document in documents.values()} == {"A", "D"}
    assert left_out["faq.csv: row 3"].reason == "a draft"
    assert "faq.csv: row 5" in left_out


def test_a_defect_of_a_parser_costs_its_file_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file on which a parser raises something unexpected is named, and the files after it are read."""
    from_text = plain_text.from_text

    def fail(content: bytes) -> list[Page]:
        return [][1] if content.startswith(b"b") else from_text(content)

    monkeypatch.setattr(plain_text, "from_text", fail)
    documents, left_out = read(write(tmp_path, {"a.txt": "apples", "b.txt": "bananas", "c.txt": "cherries"}))
    assert set(documents) == {"a", "c"}
    assert left_out["b.txt"].is_fault
    assert "a defect of ours" in left_out["b.txt"].reason
