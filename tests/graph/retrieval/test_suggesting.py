"""The company.yaml that `knowledge init` writes."""

from pathlib import Path

import pytest

from graph.retrieval.company import load_company
from graph.retrieval.desks import desk_of
from graph.retrieval.sources import Document
from graph.retrieval.suggesting import as_yaml, name_of, suggest


def document(name: str, title: str = "", language: str | None = None, **labels: str) -> Document:
    return Document(name, title or name, "Text.", "1", language=language, labels={k: (v,) for k, v in labels.items()})


def several(count: int, **labels: str) -> list[Document]:
    where = "-".join(labels.values())
    return [document(f"{where}-{number}", f"How to {where} {number}: it's easy", **labels) for number in range(count)]


def test_desks_are_the_folders_below_what_all_have_in_common() -> None:
    """Each folder with enough articles is a desk, the rest goes to the first; rules, about and examples fit it."""
    some = [
        *several(30, folder="src/docs/01-Getting Started"),
        *several(20, folder="src/docs/billing/refunds"),
        *several(20, folder="src/docs/billing/cards"),
        *several(1, folder="src/docs/attic"),
        *several(2, folder="src/docs"),
    ]
    company = suggest(some, "Acme")
    assert company.names == ("general", "billing", "getting-started")
    assert company.desks[1].rules == {"folder": ("src/docs/billing",)}
    assert [desk_of(one, company) for one in (some[0], some[30], some[50], some[-1])] == [
        "getting-started",
        "billing",
        "billing",
        None,
    ]
    assert len(company.desks[1].examples) == 28
    assert company.desks[1].about.startswith("How to src/docs/billing/refunds 0: it's easy; ")
    assert all(len(desk.about) <= 250 for desk in company.desks)


def test_a_page_elsewhere_changes_no_desk() -> None:
    """What lies beside the folder of all other articles goes to the first desk."""
    some = [*several(60, folder="src/docs/returns"), *several(40, folder="src/docs/billing")]
    assert suggest([*some, *several(1, folder="openapi")], "Acme").names == suggest(some, "Acme").names
    assert suggest(some, "Acme").names == ("general", "returns", "billing")


def test_the_whole_path_of_a_folder_counts() -> None:
    """The label also has the folders above it, and their own names."""
    labels = {"docs/billing": ("docs", "docs/billing", "billing"), "docs/api": ("docs", "docs/api", "api")}
    some = [
        Document(f"{name}{n}", name, "Text.", "1", labels={"folder": v}) for name, v in labels.items() for n in range(9)
    ]
    company = suggest(some, "Acme")
    assert company.names == ("general", "billing", "api")
    assert desk_of(some[0], company) == "billing"


def test_folders_of_languages_are_no_desks() -> None:
    """The same folder in several languages is one desk, whose rules have all of them."""
    some = [
        document(f"{folder}-{number}", language=language, folder=folder)
        for folder, language in (("guide", "en"), ("api", "en"), ("ko/guide", "ko"), ("pt-BR/api", "pt"), ("ko", "ko"))
        for number in range(5)
    ]
    company = suggest(some, "Acme")
    assert {desk.name: desk.rules.get("folder") for desk in company.desks} == {
        "general": None,
        "guide": ("guide", "*/guide"),
        "api": ("api", "*/api"),
    }
    assert [desk_of(one, company) for one in some[::5]] == ["guide", "api", "guide", "api", None]


def test_a_label_that_divides_the_articles_comes_before_folders() -> None:
    """Categories of front matter or of an export are what the company itself calls its parts."""
    some = several(20, category="Rückgabe & Umtausch", folder="a") + several(20, category="FAQ", folder="b")
    company = suggest(some, "Acme")
    assert company.names == ("faq", "rückgabe-umtausch")
    assert {desk_of(one, company) for one in some[:20]} == {"rückgabe-umtausch"}


def test_there_are_twelve_desks_at_most() -> None:
    """The smallest parts go to the first desk."""
    company = suggest([one for n in range(30) for one in several(40 - n, folder=f"part{n:02d}")], "Acme")
    assert len(company.desks) == 12
    assert company.names[:3] == ("general", "part00", "part01")


@pytest.mark.parametrize("some", [several(5), several(5, folder="docs"), several(3, section="one")])
def test_what_is_not_divided_has_one_desk(some: list[Document]) -> None:
    """Without parts there is one desk."""
    assert suggest(some, "Acme").names == ("general",)


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    """Any title survives, contacts are empty, and the language of most is the default."""
    titles = ['Why: "no" & {x} # 1?', "- dash", "yes", "Größe\u2028wählen", "'quoted'", "*star", "x" * 700, "12:30"]
    some = [
        *(document(f"a{number}", title, "de", folder="a") for number, title in enumerate(titles)),
        *(document(f"b{number}", title, "en", folder="b") for number, title in enumerate(titles[:2])),
    ]
    company = suggest(some, "Bäcker: #1")
    path = tmp_path / "company.yaml"
    path.write_text(as_yaml(company), encoding="utf-8")
    read = load_company(path)
    assert (read.name, read.language, read.names) == ("Bäcker: #1", "de", company.names)
    assert [desk.examples for desk in read.desks] == [desk.examples for desk in company.desks]
    assert [desk.rules for desk in read.desks] == [desk.rules for desk in company.desks]
    assert {desk.contact for desk in read.desks} == {""}


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("docusaurus.config.js", "module.exports = {\n  title: 'Acme Docs',\n"),
        (".vitepress/config.ts", 'export default defineConfig({ title: "Acme Docs", base: "/" })'),
        ("astro.config.mjs", "starlight({ title: 'Acme Docs' })"),
        ("mkdocs.yml", "site_name: Acme Docs\n"),
        ("_config.yml", 'title: "Acme Docs"\n'),
        ("hugo.toml", "baseURL = 'x'\ntitle = 'Acme Docs'\n"),
        ("hugo.yaml", "title: Acme Docs\n"),
    ],
)
def test_the_name_is_that_of_the_site(tmp_path: Path, file: str, text: str) -> None:
    """A site generator's settings lie in the folder or above it; without them the folder's name serves."""
    folder = tmp_path / "site" / "help-centre"
    folder.mkdir(parents=True)
    assert name_of(folder) == "Help Centre"
    place = tmp_path / "site" / file
    place.parent.mkdir(exist_ok=True)
    place.write_text(text)
    assert name_of(folder) == "Acme Docs"
