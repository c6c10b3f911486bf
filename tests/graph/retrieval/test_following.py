"""Articles whose files change while they are served from memory."""

import asyncio
import itertools
import logging
import shutil
import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from conftest import MakeSettings
from graph.errors import KnowledgeUnavailable
from graph.models import open_models
from graph.retrieval import articles as reading
from graph.retrieval import following, index, stamps
from graph.retrieval.articles import Library, Reader
from graph.retrieval.index import open_knowledge
from graph.retrieval.served import Knowledge
from graph.retrieval.stamps import Watch
from harness.scripted_model import ScriptedModel, embedded, status

LONG = 20.0  # seconds that a test waits at most


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at files often."""
    monkeypatch.setattr(stamps, "LOOK", 0.05)
    monkeypatch.setattr(stamps, "_STILL", 0.05)
    monkeypatch.setattr(following, "_PAUSE", 0.1)


@pytest.fixture(autouse=True)
def looks(monkeypatch: pytest.MonkeyPatch) -> "Looks":
    """What tells a test when nothing is read, so that no reading meets half of a change."""
    seen, wait = Looks(), Watch.changed

    async def changed(self: Watch) -> None:
        seen.is_waiting = True
        try:
            await wait(self)
            seen.changes += 1
        finally:
            seen.is_waiting = False

    monkeypatch.setattr(Watch, "changed", changed)
    return seen


class Looks:
    """Whether files are waited for, and how often some had changed."""

    is_waiting = False
    changes = 0

    async def rest(self) -> None:
        """Wait until nothing is read."""
        await until(lambda: self.is_waiting)

    async def notice(self, change: Callable[[], object]) -> None:
        """Make a change that is not served, and wait until the files have been read."""
        await self.rest()
        before = self.changes
        change()
        await until(lambda: self.changes > before and self.is_waiting)


@asynccontextmanager
async def followed(settings: Any) -> AsyncGenerator[Knowledge]:
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        await knowledge.indexed()
        yield knowledge


async def until(happens: Callable[[], object]) -> None:
    async with asyncio.timeout(LONG):
        while not happens():
            await asyncio.sleep(0.01)


async def changed(knowledge: Knowledge, change: Callable[[], object]) -> None:
    """Make a change, and wait until something else is served."""
    before = knowledge.version
    change()
    await until(lambda: knowledge.version != before)


def article(folder: Path, name: str, text: str, **fields: str) -> None:
    matter = "".join(f"{key}: {value}\n" for key, value in {"title": name.title(), **fields}.items())
    beside = folder / f".{name}"
    beside.write_text(f"---\n{matter}---\n\n{text}\n")
    beside.rename(folder / f"{name}.md")


def remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink()


async def texts(knowledge: Knowledge, question: str) -> dict[str, str]:
    return {passage["id"]: passage["text"] for passage in await knowledge.search(question)}


def inputs(model: ScriptedModel) -> list[str]:
    return [text for call in model.of("embeddings") for text in call.body["input"] if "\n" in text]


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


async def test_what_changes_is_served_and_nothing_else_is_embedded(
    make_settings: MakeSettings, model: ScriptedModel, articles: Path
) -> None:
    """An article that is changed, added, removed, or made a draft."""
    async with followed(make_settings()) as knowledge:
        model.forget()
        versions = {knowledge.version}
        await changed(knowledge, lambda: article(articles, "careers", "Zebras are wanted.", id="careers"))
        assert (await texts(knowledge, "zebras wanted"))["careers"] == "Zebras are wanted."
        await changed(knowledge, lambda: article(articles, "parking", "Cars park behind the house."))
        assert (await texts(knowledge, "where do cars park"))["parking"] == "Cars park behind the house."
        assert [text.partition("\n")[0] for text in inputs(model)] == ["Careers", "Parking"]
        versions.add(knowledge.version)
        await changed(knowledge, (articles / "opening-hours.md").unlink)
        assert "opening-hours" not in await texts(knowledge, "when is support open")
        await changed(knowledge, lambda: article(articles, "parking", "Cars park behind the house.", draft="true"))
        assert "parking" not in await texts(knowledge, "where do cars park")
        assert await knowledge.article("parking") is None
        versions.add(knowledge.version)
        assert (len(inputs(model)), len(versions)) == (2, 3)


async def test_a_tree_that_is_being_copied_is_read_at_its_end(
    make_settings: MakeSettings, articles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as files come, what was there before is served."""
    monkeypatch.setattr(stamps, "_STILL", 0.3)
    async with followed(make_settings()) as knowledge:
        before = knowledge.version
        for number in range(12):
            article(articles, f"copied-{number}", "Copied.")
            await asyncio.sleep(0.05)
            assert knowledge.version == before
        await until(lambda: knowledge.version != before)
        assert await knowledge.article("copied-0")
        assert await knowledge.article("copied-11")


async def test_a_bad_set_takes_no_place(
    make_settings: MakeSettings, looks: Looks, articles: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Neither one without articles nor one without most of them; it is named once, and what was is served."""
    away = tmp_path / "away"
    shutil.copytree(articles, away)
    async with followed(make_settings()) as knowledge:
        before = knowledge.version
        await looks.notice(lambda: remove(sorted(articles.glob("*.md"))[:4]))
        assert "4 of 6 articles are gone, which is more than half" in str(knowledge.outdated)
        await looks.notice(lambda: (articles / "note.json").write_text("Something else changes."))
        assert len(errors(caplog)) == 1
        await looks.notice(lambda: remove(articles.glob("*.md")))
        assert "no articles" in str(knowledge.outdated)
        assert knowledge.version == before
        assert await texts(knowledge, "support is open on monday")
        await looks.notice(lambda: shutil.copytree(away, articles, dirs_exist_ok=True))
        assert (knowledge.outdated, knowledge.version) == (None, before)
    assert len(errors(caplog)) == 2


async def test_a_folder_that_is_away_for_a_moment_changes_nothing(
    make_settings: MakeSettings, articles: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """The articles of the others are followed meanwhile, and it is named once."""
    other = tmp_path / "other"
    other.mkdir()
    article(other, "parking", "Cars park behind the house.")
    async with followed(make_settings(SUPPORT_KNOWLEDGE=f"{articles},{other}")) as knowledge:
        await changed(knowledge, lambda: other.rename(tmp_path / "gone"))
        assert await knowledge.article("other:parking") is None
        await changed(knowledge, lambda: article(articles, "careers", "Zebras are wanted.", id="careers"))
        await changed(knowledge, lambda: (tmp_path / "gone").rename(other))
        assert await knowledge.article("other:parking")
    assert len([record for record in caplog.records if "does not exist" in record.getMessage()]) == 1


async def test_the_same_fault_is_named_once(
    make_settings: MakeSettings, looks: Looks, articles: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However often the files around it change."""
    (articles / "bad.md").write_bytes(b"Caf\xe9\n")
    async with followed(make_settings()) as knowledge:
        await changed(knowledge, lambda: article(articles, "one", "One."))
        await looks.notice(lambda: (articles / "worse.md").write_bytes(b"Caf\xe9\n"))
        await changed(knowledge, lambda: article(articles, "two", "Two."))
    said = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert [line.partition(": ")[2].partition(":")[0][-9:].lstrip("/") for line in said] == ["ge/bad.md", "worse.md"]


async def test_company_yaml_needs_a_restart(
    make_settings: MakeSettings, looks: Looks, articles: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says so once for each change, and what it says is as before."""
    file = articles / "company.yaml"
    async with followed(make_settings()) as knowledge:
        before = knowledge.version
        await looks.notice(lambda: file.write_text(file.read_text().replace("help@", "hello@")))
        assert "company.yaml has changed, which takes effect with a restart" in caplog.text
        assert knowledge.version == before
        await changed(knowledge, lambda: article(articles, "one", "One."))
        assert knowledge.company.contacts[0] == "help@company.example"
    assert caplog.text.count("takes effect with a restart") == 1


async def test_a_model_that_is_down_leaves_what_was_served(
    make_settings: MakeSettings, model: ScriptedModel, articles: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The change is served once it answers again, without another change."""
    async with followed(make_settings()) as knowledge:
        before = knowledge.version
        model.script("embeddings", status(401))
        article(articles, "careers", "Zebras are wanted.", id="careers")
        await until(lambda: knowledge.outdated)
        await asyncio.sleep(0.3)
        assert knowledge.version == before
        assert errors(caplog) == [f"{knowledge.outdated}; the articles from before are served"]
        model.script("embeddings", embedded(64))
        await until(lambda: knowledge.outdated is None)
        assert (await texts(knowledge, "zebras wanted"))["careers"] == "Zebras are wanted."


async def test_a_start_does_not_wait_for_what_is_read_slowly(
    make_settings: MakeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question says so until it is read, and there is no version to keep answers for."""
    begun, going_on = threading.Event(), threading.Event()
    read = Reader.read

    def slowly(self: Reader) -> Library:
        begun.set()
        going_on.wait(LONG)
        return read(self)

    monkeypatch.setattr(Reader, "read", slowly)
    monkeypatch.setattr(index, "_PATIENCE", 0.1)
    settings = make_settings()
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        await until(begun.is_set)
        with pytest.raises(KnowledgeUnavailable) as caught:
            await knowledge.search("support is open on monday")
        assert (caught.value.reason, knowledge.version) == ("the articles are being read", "")
        going_on.set()
        await asyncio.wait_for(knowledge.indexed(), LONG)
        assert await texts(knowledge, "support is open on monday")


async def test_what_is_wrong_with_late_articles_ends_no_start(
    make_settings: MakeSettings, articles: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named, and they are read again until something can be served."""
    going_on = threading.Event()
    read = Reader.read

    def slowly(self: Reader) -> Library:
        going_on.wait(LONG)
        return read(self)

    monkeypatch.setattr(Reader, "read", slowly)
    monkeypatch.setattr(index, "_PATIENCE", 0.1)
    monkeypatch.setattr(index, "_REREAD", 0.1)
    for file in articles.glob("*.md"):
        file.unlink()
    settings = make_settings()
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        going_on.set()
        await until(lambda: errors(caplog))
        article(articles, "one", "One article.")
        await until(lambda: knowledge.is_indexed)
        assert await texts(knowledge, "one article") == {"one": "One article."}
    assert len(errors(caplog)) == 1
    assert "no articles" in errors(caplog)[0]


async def test_sites_are_read_at_the_start_alone(
    make_settings: MakeSettings, articles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And files beside them are followed."""
    opened: list[str] = []
    open_source = reading.open_source

    def noted(address: str, company: Any) -> Any:
        opened.append(address)
        return open_source(str(articles) if address.startswith("http") else address, company)

    other = articles.parent / "other"
    other.mkdir()
    article(other, "parking", "Cars park behind the house.")
    monkeypatch.setattr(reading, "open_source", noted)
    site = "https://help.example.com/sitemap.xml"
    async with followed(make_settings(SUPPORT_KNOWLEDGE=f"{site},{other}")) as knowledge:
        assert await knowledge.article("careers")
        await changed(knowledge, lambda: article(other, "parking", "Nowhere."))
        assert await knowledge.article("careers")
    assert opened.count(site) == 1


async def test_a_log_beside_the_articles_holds_nothing_up(make_settings: MakeSettings, articles: Path) -> None:
    """Nor do an editor's files and hidden ones, which are no articles and may change all the time."""
    names = ("build.log", ".parking.md.swp", "parking.md~", ".state.md")

    async def write() -> None:
        for number in itertools.count():
            for name in names:
                (articles / name).write_text("x" * number)
            await asyncio.sleep(0.01)

    async with followed(make_settings()) as knowledge:
        writing = asyncio.create_task(write())
        await changed(knowledge, lambda: article(articles, "parking", "Cars park here."))
        writing.cancel()
        assert await knowledge.article("parking")


def test_stamps_follow_links_as_reading_does(tmp_path: Path) -> None:
    """Within the folder, not out of it; hidden folders and those without articles are not looked into."""
    root, out = tmp_path / "root", tmp_path / "out"
    for name in ("..2026/docs/a.md", "guides/b.md", ".git/index", "node_modules/c.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("One.")
    out.mkdir()
    (out / "d.md").write_text("One.")
    (root / "..data").symlink_to("..2026")
    (root / "docs").symlink_to("..data/docs")
    (root / "a.md").symlink_to("..data/docs/a.md")
    (root / "out").symlink_to(out)
    (root / "round").symlink_to(root)
    before = stamps.stamps_of([root])
    assert {str(Path(path).relative_to(root)) for path in before} == {"guides/b.md", "docs/a.md", "a.md"}
    # As Kubernetes changes a volume.
    (root / "..2027/docs").mkdir(parents=True)
    (root / "..2027/docs/a.md").write_text("Two.")
    (root / "..next").symlink_to("..2027")
    (root / "..next").replace(root / "..data")
    after = stamps.stamps_of([root])
    assert {Path(path).name for path in after if after[path] != before.get(path)} == {"a.md"}
    assert stamps.stamps_of([tmp_path / "nowhere"]) == {}
