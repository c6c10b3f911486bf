from pathlib import Path

import pytest

from graph.retrieval.sources.generators import settings_of
from graph.retrieval.sources.globs import Ignored, glob, globs, is_match, is_within
from graph.retrieval.sources.site_files import MAX_BYTES
from harness.trees import read, write

_MKDOCS = """
markdown_extensions:
  - pymdownx.emoji:
      emoji_index: !!python/name:material.extensions.emoji.twemoji
plugins: !ENV [PLUGINS, []]
extra: &extra {a: 1}
more: {<<: *extra}
exclude_docs: |
  # not for customers
  drafts/
  *.tmp.md
  !kept.tmp.md
  /top.md
draft_docs: wip-*.md
not_in_nav: hidden-in-nav.md
"""
_MKDOCS_PAGES = ("drafts/a.md", "b/drafts/c.md", "x.tmp.md", "kept.tmp.md", "top.md", "b/top.md", "b/wip-1.md")


def _pages(*paths: str, below: str = "") -> dict[str, str | bytes]:
    return {below + path: f"# {path}\n\nText of {path}." for path in paths}


def test_pages_that_mkdocs_excludes_are_left_out(tmp_path: Path) -> None:
    """`exclude_docs` and `draft_docs` leave out, `not_in_nav` does not, and unknown YAML tags do not matter."""
    root = write(tmp_path / "p", {
        "mkdocs.yml": _MKDOCS,
        **_pages(*_MKDOCS_PAGES, "hidden-in-nav.md", below="docs/"),
        **_pages("a.md", "docs/b.md", below="site/"),
    })  # fmt: skip
    kept = {"b/top", "kept.tmp", "hidden-in-nav"}
    documents, left_out = read(root)
    assert set(documents) == {f"docs/{each}" for each in kept}
    assert left_out["docs/drafts/a.md"].reason == "mkdocs.yml leaves it out (exclude_docs)"
    assert left_out["docs/b/wip-1.md"].reason == "mkdocs.yml leaves it out (draft_docs)"
    assert left_out["site/"].reason == "holds the pages that MkDocs has made"
    assert not any(each.is_fault for each in left_out.values())
    documents, left_out = read(root / "docs")
    assert set(documents) == kept
    assert len(left_out) == 5


def test_pages_that_jekyll_excludes_are_left_out(tmp_path: Path) -> None:
    """`exclude`, and defaults with `published: false`, which a page's own front matter overrules."""
    root = write(tmp_path / "p", {
        "_config.yml": "exclude: [internal/, '*.secret.md', /docs/old]\ninclude: [docs/old-but-good.md]\n"
        "destination: made\ndefaults:\n"
        "  - scope: {path: docs/soon, type: pages}\n    values: {published: false}\n"
        "  - scope: {path: '', type: staff}\n    values: {published: false}\n"
        "  - scope: {path: ''}\n    values: {layout: page}\n",
        **_pages("internal/a.md", "docs/x.secret.md", "docs/old/b.md", "docs/old-but-good.md", "docs/soon/c.md"),
        **_pages("_staff/d.md", "_guides/e.md", "docs/f.md", "made/g.md"),
        "docs/soon/now.md": "---\npublished: true\n---\nText.",
    })  # fmt: skip
    documents, left_out = read(root)
    assert set(documents) == {"docs/old-but-good", "docs/soon/now", "_guides/e", "docs/f"}
    assert left_out["internal/a.md"].reason == "_config.yml leaves it out (exclude)"
    assert left_out["docs/soon/c.md"].reason == left_out["_staff/d.md"].reason == "a draft (published: false)"
    assert set(read(root / "docs")[0]) == {"old-but-good", "soon/now", "f"}


@pytest.mark.parametrize("cascade", [
    "cascade: {draft: true}",
    "cascade:\n  - {build: {render: never}, _target: {path: '/soon/**'}}",
    "cascade:\n  - headless: true\n    target: {path: '{/old,/soon}/**', kind: page}",
])  # fmt: skip
def test_what_a_section_of_hugo_cascades_leaves_out(tmp_path: Path, cascade: str) -> None:
    """Pages below a section, and its own, get its fields unless they have their own."""
    root = write(tmp_path / "p", {
        "hugo.toml": "",
        "content/soon/_index.md": f"---\ntitle: Soon\n{cascade}\ndraft: no\nheadless: no\nbuild: {{}}\n---\nText.",
        "content/soon/A.md": "# A\n\nText.",
        "content/soon/deep/b.md": "# B\n\nText.",
        "content/other/c.md": "# C\n\nText.",
    })  # fmt: skip
    assert set(read(root)[0]) == {"content/soon/_index", "content/other/c"}
    documents, left_out = read(root / "content")
    assert set(documents) == {"soon/_index", "other/c"}
    assert not any(each.is_fault for each in left_out.values())


def test_a_cascade_that_is_for_others_leaves_nothing_out(tmp_path: Path) -> None:
    """What a page or a nearer section says counts, and other kinds, paths and environments are no target."""
    root = write(tmp_path, {
        "s/_index.md": "---\ncascade:\n  - {draft: true, target: {kind: section}}\n"
        "  - {draft: true, target: {path: /t/**}}\n  - {draft: true, target: {environment: staging}}\n---\n",
        "s/a.md": "# A\n\nText.",
        "u/_index.md": "---\ncascade: {draft: true}\n---\n",
        "u/own.md": "---\ndraft: false\n---\nText.",
        "u/near/_index.md": "---\ncascade: {draft: false}\n---\n",
        "u/near/b.md": "# B\n\nText.",
        "u/_index.de.md": "---\ncascade: {draft: false}\n---\n",
        "u/c.de.md": "# C\n\nText.",
    })  # fmt: skip
    assert {"s/a", "u/own", "u/near/b", "u/c.de"} == set(read(root)[0])


def test_pages_of_hugo_with_a_date_to_come_are_left_out(tmp_path: Path) -> None:
    """Elsewhere a date says nothing; nor does it where Hugo builds the future, or a publishing date is over."""
    pages: dict[str, str | bytes] = {
        "content/a.md": "---\ndate: 2999-01-01\n---\nText.",
        "content/b.md": "---\ndate: 2999-01-01\npublishDate: 2020-01-01\n---\nText.",
    }
    write(tmp_path, {f"{name}/{path}": text for name in ("hugo", "old", "all", "none") for path, text in pages.items()})
    write(tmp_path, {"hugo/hugo.yaml": "", "old/config.toml": "", "all/hugo.toml": "buildFuture = true"})
    write(tmp_path, _pages("old/public/a/index.md"))
    read_of = {name: set(read(tmp_path / name)[0]) for name in ("hugo", "old", "all", "none")}
    both = {"content/a", "content/b"}
    assert read_of == {"hugo": {"content/b"}, "old": {"content/b"}, "all": both, "none": both}
    assert read(tmp_path / "hugo/content")[1]["a.md"].reason == "not published yet (publishDate)"


def test_pages_that_sphinx_excludes_are_left_out(tmp_path: Path) -> None:
    """A list of texts in conf.py counts, and nothing in it runs."""
    ran = tmp_path / "ran"
    root = write(tmp_path / "p", {
        "source/conf.py": f"open({str(ran)!r}, 'w')\nexclude_patterns = ['_build', 'internal', '**/wip-*']\n"
        "exclude_patterns += ['a/secret.txt', name]\n",
        **_pages("internal/x.txt", "a/wip-b.txt", "a/secret.txt", "a/c.txt", "_build/d.txt", below="source/"),
        **_pages("build/html/e.txt", below=""),
    })  # fmt: skip
    assert set(read(root)[0]) == {"source/a/c"}
    documents, left_out = read(root / "source")
    assert set(documents) == {"a/c"}
    assert left_out["internal/x.txt"].reason == "conf.py leaves it out (exclude_patterns)"
    assert not ran.exists()


def test_pages_that_docusaurus_and_vitepress_exclude_are_left_out(tmp_path: Path) -> None:
    """Lists of literal texts are read, not those in comments; patterns are for whole paths."""
    docusaurus = write(tmp_path / "d", {
        "docusaurus.config.js": "// exclude: ['**/*.md'],\nconst url = 'https://x.example/*';\n"
        "export default {docs: {path: 'guides', exclude: [\n  '**/{internal,staff}/**', // ours\n  \"old.md\",\n]},\n"
        "blog: {exclude: ['**']}, sitemap: {exclude: ['**']}, docs2: {path: 'guides', exclude: ['**', name]}}",
        **_pages("internal/a.md", "b/staff/c.md", "old.md", "b/old.md", below="guides/"),
    })  # fmt: skip
    assert set(read(docusaurus)[0]) == {"guides/b/old"}
    documents, left_out = read(docusaurus / "guides")
    assert set(documents) == {"b/old"}
    assert left_out["old.md"].reason == "docusaurus.config.js leaves it out (exclude)"
    vitepress = write(tmp_path / "v", {
        "docs/.vitepress/config.mts": "export default defineConfig({ srcExclude: ['**/todo.md', 'drafts/**'] })",
        **_pages("a/todo.md", "drafts/b.md", "c.md", below="docs/"),
    })  # fmt: skip
    assert set(read(vitepress)[0]) == {"docs/c"}
    assert set(read(vitepress / "docs")[0]) == {"c"}


@pytest.mark.parametrize(("name", "content", "reason"), [
    ("mkdocs.yml", "a: [", "is not valid: what it leaves out is read"),
    ("mkdocs.yml", "a: " + "[" * 5000, "is nested more than 20 deep: what it leaves out is read"),
    ("_config.yml", "a" * (MAX_BYTES + 1), "is longer than 256 KiB: what it leaves out is read"),
    ("hugo.toml", "a = ", "is not valid: what it leaves out is read"),
    ("conf.py", "exclude_patterns = " + "(" * 9000, "is not valid: what it leaves out is read"),
])  # fmt: skip
def test_settings_that_can_not_be_read_are_named(tmp_path: Path, name: str, content: str, reason: str) -> None:
    """Whoever relies on them must know, also where they stand beside the folder."""
    root = write(tmp_path / "p", {name: content, **_pages("docs/a.md")})
    assert read(root)[1][name].reason == reason
    documents, left_out = read(root / "docs")
    assert set(documents) == {"a"}
    assert [(Path(where).name, each.is_fault) for where, each in left_out.items()] == [(name, True)]


def test_settings_beside_a_folder_do_not_leave_out_all_of_it(tmp_path: Path) -> None:
    """They are of another site, if they leave out the folder that somebody has named."""
    root = write(tmp_path / "p", {"_config.yml": "exclude: [docs]", **_pages("docs/a.md", "b.md")})
    assert set(read(root / "docs")[0]) == {"a"}
    assert set(read(root)[0]) == {"b"}


def test_settings_that_endless_aliases_fill_are_read(tmp_path: Path) -> None:
    """Aliases share what they name."""
    rows = "\n".join(f"a{at}: &a{at} {{<<: [*a{at - 1}, *a{at - 1}]}}" for at in range(1, 40))
    root = write(tmp_path, {"mkdocs.yml": f"a0: &a0 {{x: 1}}\n{rows}\nexclude_docs: b.md", **_pages("docs/b.md")})
    assert "docs/b.md" in read(root)[1]


def test_settings_are_among_what_is_looked_at(tmp_path: Path) -> None:
    """Those beside a folder, and those in a hidden one."""
    assert {tmp_path.parent / "mkdocs.yml", tmp_path / ".vitepress/config.ts"} <= set(settings_of(tmp_path))


def test_patterns_of_paths() -> None:
    """`*` stays within a name, `**` stands for any folders, and long patterns take no time."""
    assert is_match([glob("a/**/b.md")], "a/b.md")
    assert is_match([glob("a/**/b.md")], "a/x/y/b.md")
    assert not is_match([glob("a/*.md")], "a/x/b.md")
    assert not is_match([glob("a")], "a/b.md")
    assert is_within([glob("a")], "a/b.md")
    assert is_match(globs("{a,b/{c,d}}/*"), "b/d/x.md")
    assert not is_match([glob("**/" * 99 + "*a" * 99 + "b")], "/".join(["a" * 200] * 30))
    assert len(globs("{a,b}" * 40)) <= 300
    assert Ignored([r"\#a.md"])("#a.md")
    assert not Ignored(["a/"])("a")
