"""What SUPPORT_KNOWLEDGE names, read into one library."""

import logging
from pathlib import Path

import pytest

from conftest import ARTICLES, MakeSettings
from graph.errors import KnowledgeError, SettingsError
from graph.models import open_models
from graph.retrieval.articles import MOST_NAMED, Library, Reader, read_library
from graph.retrieval.index import open_knowledge
from graph.settings import AgentSettings
from harness.scripted_model import ScriptedModel

BROKEN = "---\ntitle: [a\n---\n\nText.\n"


def library_of(*sources: Path | str, **variables: str) -> Library:
    return read_library(AgentSettings(SUPPORT_KNOWLEDGE=",".join(map(str, sources)), **variables))  # pyright: ignore[reportArgumentType] - an environment's variables


def write(folder: Path, **articles: str) -> Path:
    for name, text in articles.items():
        path = folder / f"{name.replace('__', '/')}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if text.startswith("---") else f"---\ntitle: {name}\n---\n\n{text}\n")
    return folder


def test_several_sources_are_one_library(articles: Path, tmp_path: Path) -> None:
    """Their articles are all there, with white space around a comma; company.yaml is the first folder's."""
    more = write(tmp_path / "more", start="Begin here.")
    library = library_of(f"{articles} ", f" {more}")
    assert {article.id for article in library.articles} >= ARTICLES.keys()
    assert len(library.articles) == len(ARTICLES) + 1
    assert library.company.name == "Acme & Sons"
    assert library.left_out == ()


def test_ids_are_unique_across_sources(tmp_path: Path) -> None:
    """Articles with one id are both kept: the first source's id stays, and another's begins with its name."""
    one = write(tmp_path / "docs", start="One.")
    two = write(tmp_path / "Manuals 2", start="Two.", parts="Three.")
    three = write(tmp_path / "old" / "docs", start="Four.")
    library = library_of(one, two, three)
    assert [article.id for article in library.articles] == [
        "start",
        "manuals-2:parts",
        "manuals-2:start",
        "docs-3:start",
    ]
    (two / "start.md").unlink()
    assert [article.id for article in library_of(one, two, three).articles] == [
        "start",
        "manuals-2:parts",
        "docs-3:start",
    ]


def test_an_article_in_two_sources_is_named(tmp_path: Path) -> None:
    """The first is used, and the second is a fault: a folder inside another one, and a folder that is named twice."""
    outer = write(tmp_path / "docs", start="One.", faq__prices="Two.")
    library = library_of(outer, outer / "faq", f"{outer}/../docs")
    assert len(library.articles) == 2
    assert [(fault.where, fault.reason) for fault in library.faults] == [
        (str(outer / "faq"), f"the article 'prices' is also in {str(outer)!r}, as 'faq/prices'"),
        (f"{outer}/../docs", "is named twice in SUPPORT_KNOWLEDGE"),
    ]


@pytest.mark.parametrize("is_inner_first", [False, True])
def test_an_article_of_a_folder_inside_another_is_read_once(tmp_path: Path, *, is_inner_first: bool) -> None:
    """Also where its text differs because of its links, and where its front matter names an id."""
    outer = write(tmp_path / "p", start="See [prices](faq/prices.md).")
    write(outer / "faq", prices="See [plans](../start.md).", own="---\nid: mine\n---\nSee [a](../start.md).")
    (outer / "company.yaml").write_text(
        "name: Acme\nurl: https://help.example.com/{path}\ndesks:\n  general:\n    about: All.\n"
    )
    (outer / "faq" / "company.yaml").write_text((outer / "company.yaml").read_text())
    sources = [outer / "faq", outer] if is_inner_first else [outer, outer / "faq"]
    library = library_of(*sources)
    assert sorted(article.title for article in library.articles) == ["Own", "prices", "start"]
    assert {fault.where for fault in library.faults} == {str(sources[1])}
    assert len(library.faults) == 2
    assert all(f"is also in {str(sources[0])!r}" in fault.reason for fault in library.faults)


def test_a_folder_with_an_export_alone_says_what_to_name(tmp_path: Path) -> None:
    """Its reader would not know which product it is of."""
    (tmp_path / "export.json").write_text("[]")
    with pytest.raises(KnowledgeError, match=r"to read an export, name the file: .*/export\.json"):
        library_of(tmp_path).require(strict=False)


def test_a_folder_that_does_not_exist_is_not_an_empty_one(tmp_path: Path) -> None:
    """Each has a message of its own."""
    with pytest.raises(KnowledgeError, match=r"SUPPORT_KNOWLEDGE: there is no file or folder '.*nowhere'"):
        library_of(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(KnowledgeError, match=r"SUPPORT_KNOWLEDGE: no articles; .*empty: there are no articles in it"):
        library_of(tmp_path / "empty").require(strict=False)


def test_one_source_that_does_not_exist_ends_the_start(articles: Path) -> None:
    """Even beside others, since it is a mistake in a setting."""
    with pytest.raises(KnowledgeError, match="there is no file or folder 'nowhere'"):
        library_of(articles, "nowhere")


@pytest.mark.parametrize("name", ["a,b", "a,b,c", "a, b", "a, b, c"])
def test_a_path_with_a_comma_is_refused_by_name(articles: Path, tmp_path: Path, name: str) -> None:
    """The message says that a comma separates sources, and what to do."""
    folder = write(tmp_path / name, start="One.")
    with pytest.raises(KnowledgeError, match=rf"'{folder}' has a comma, which separates sources; rename it"):
        library_of(articles, folder)


@pytest.mark.parametrize("value", [",", " , "])
def test_a_setting_that_names_nothing_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """The message says what is valid."""
    monkeypatch.setenv("SUPPORT_KNOWLEDGE", value)
    with pytest.raises(SettingsError, match="SUPPORT_KNOWLEDGE: must be folders, files or addresses, comma separated"):
        AgentSettings.load()


def test_every_bad_file_is_named_with_its_line(articles: Path) -> None:
    """All of them at once, and the good ones are read."""
    write(articles, one=BROKEN, two=BROKEN)
    (articles / "three.md").write_bytes(b"---\ntitle: T\n---\n\nCaf\xe9\n")
    library = library_of(articles)
    assert len(library.articles) == len(ARTICLES)
    where = {Path(fault.where).name for fault in library.faults}
    assert len(where) == 3
    assert "three.md:5" in where
    assert all(fault.reason for fault in library.faults)


async def test_the_log_names_bad_files_and_the_start_goes_on(
    make_settings: MakeSettings, model: ScriptedModel, articles: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first ones and a count; drafts are one line, and questions are answered."""
    caplog.set_level(logging.INFO)
    write(articles, **{f"bad{number:02}": BROKEN for number in range(MOST_NAMED + 3)})
    write(articles, **{f"draft{number}": "---\ntitle: Secret\ndraft: true\n---\n\nSecret.\n" for number in range(4)})
    settings = make_settings()
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        assert await knowledge.search("support is open on monday")
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("left out")]
    assert len(said) == MOST_NAMED + 2
    assert "bad00.md:" in said[0]
    assert said[-2:] == [
        "left out: 3 more with faults; `support-agent doctor` names all",
        "left out: 4 that are not for customers (drafts, internal articles and the like)",
    ]


async def test_nothing_left_ends_the_start(make_settings: MakeSettings, model: ScriptedModel, tmp_path: Path) -> None:
    """The message has the first reason, and how many more there are."""
    folder = write(tmp_path / "bad", one=BROKEN, two=BROKEN, three="---\ntitle: Secret\ndraft: true\n---\n\nSecret.\n")
    settings = make_settings(SUPPORT_KNOWLEDGE=folder)
    async with open_models(settings) as models:
        with pytest.raises(KnowledgeError, match=r"no articles; .*one\.md:\d+: .*\(and 1 more.*; 1 are left out"):
            async with open_knowledge(settings, models):
                pass
    assert model.of("embeddings") == []


async def test_a_strict_start_takes_no_fault(make_settings: MakeSettings, model: ScriptedModel, articles: Path) -> None:
    """A draft is none."""
    write(articles, draft="---\ntitle: Secret\ndraft: true\n---\n\nSecret.\n")
    settings = make_settings(SUPPORT_STRICT=True)
    async with open_models(settings) as models, open_knowledge(settings, models):
        pass
    write(articles, bad=BROKEN)
    async with open_models(settings) as models:
        with pytest.raises(KnowledgeError, match=r"1 with faults, .*SUPPORT_STRICT.*bad\.md:"):
            async with open_knowledge(settings, models):
                pass


async def test_a_draft_is_in_no_index_prompt_or_source(
    make_settings: MakeSettings, model: ScriptedModel, articles: Path
) -> None:
    """Not a word of it is embedded or found."""
    write(articles, draft="---\ntitle: Zebra plans\npublished: false\n---\n\nZebra prices will rise.\n")
    settings = make_settings()
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        found = await knowledge.search("zebra prices")
    assert "zebra" not in str(found).lower()
    embedded = [text for call in model.of("embeddings") for text in call.body["input"] if text != "zebra prices"]
    assert "zebra" not in str(embedded).lower()


def test_the_company_file_can_be_elsewhere(articles: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """SUPPORT_COMPANY names it; without any there is one desk without a contact, and a warning."""
    folder = write(tmp_path / "docs", start="One.")
    assert library_of(folder, SUPPORT_COMPANY=str(articles / "company.yaml")).company.name == "Acme & Sons"
    assert not caplog.records
    (desk,) = library_of(folder).company.desks
    assert desk.contact == ""
    assert "there is one desk without a contact" in caplog.text


def test_the_version_follows_the_content(articles: Path) -> None:
    """Another word, contact or model is another version; the same content is the same one, whatever is left out."""
    library = library_of(articles)
    versions = {library.version("e5"), library.version("text-embedding-3-small")}
    path = articles / "careers.md"
    path.write_text(path.read_text().replace("listed", "shown"))
    versions.add(library_of(articles).version("e5"))
    company = articles / "company.yaml"
    company.write_text(company.read_text().replace("help@", "hello@"))
    versions.add(library_of(articles).version("e5"))
    assert len(versions) == 4
    before = library_of(articles).version("e5")
    write(articles, bad=BROKEN)
    assert library_of(articles).version("e5") == before


def test_a_name_in_a_message_cannot_steer_a_terminal(articles: Path) -> None:
    """Control characters of a file's name are shown as none."""
    (articles / "a\x1b[2Jb.md").write_text(BROKEN)
    with pytest.raises(KnowledgeError) as caught:
        library_of(articles).require(strict=True)
    assert "\x1b" not in str(caught.value)
    assert "[2Jb.md:" in str(caught.value)


def test_no_password_of_an_address_is_shown() -> None:
    """What is printed of sources has none, and each source still gets its own."""
    settings = AgentSettings(SUPPORT_KNOWLEDGE="docs, https://me:s3cret@help.example/sitemap.xml")
    assert settings.sources[1] == "https://me:s3cret@help.example/sitemap.xml"
    assert settings.sources_named == "docs, https://help.example/sitemap.xml"


def test_settings_beside_a_folder_take_effect_when_they_change(tmp_path: Path) -> None:
    """They are looked at like the folder's own files."""
    folder = write(tmp_path / "docs", start="One.", plan="Two.")
    reader = Reader(AgentSettings(SUPPORT_KNOWLEDGE=str(folder)))  # pyright: ignore[reportCallIssue] - a variable's name
    assert len(reader.read().articles) == 2
    (tmp_path / "mkdocs.yml").write_text("exclude_docs: plan.md\n")
    library = reader.read()
    assert ([article.id for article in library.articles], library.withheld) == (["start"], 1)
    assert tmp_path / "mkdocs.yml" in reader.places
