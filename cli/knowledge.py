"""`support-agent knowledge`: what is read of a help centre, and a company.yaml to begin with."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from api.settings import ServiceSettings
from cli.embedded import Offline, embedded, load_settings, named_by
from cli.rows import Row, counted, print_rows, several
from graph.errors import KnowledgeError, ModelError, SettingsError
from local.process import LocalServiceError

if TYPE_CHECKING:
    from graph.retrieval.articles import Article, Library
    from graph.retrieval.inspection import Inspection
    from graph.retrieval.sources import Document

knowledge = typer.Typer(help="Your help centre, and the company.yaml beside it.", no_args_is_help=True)


@knowledge.callback()
def _knowledge() -> None: ...


@knowledge.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The folder with the articles, or an export.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a company.yaml that is there.")] = False,
) -> None:
    """Write a company.yaml from what a folder of articles holds: a name, desks, rules and examples; then correct it."""
    from graph.retrieval.company import COMPANY_FILE
    from graph.retrieval.suggesting import as_yaml, name_of, suggest

    file = (folder.parent if folder.is_file() else folder) / COMPANY_FILE
    if file.exists() and not force:
        raise SettingsError(f"{file}: is there already; --force replaces it")
    documents = _documents(folder)
    if not documents:
        raise KnowledgeError(f"{folder}: can't read any article; `support-agent knowledge check {folder}` says why")
    company = suggest(documents, name_of(folder))
    file.write_text(as_yaml(company), encoding="utf-8")
    print(f"{file} has {counted(len(company.desks), 'desk')}: {', '.join(company.names)}")
    if folder.is_file():
        print(f"Name it in SUPPORT_COMPANY, since {folder} is no folder: SUPPORT_COMPANY={file}")
    print("Correct it, above all the contacts; then run: support-agent knowledge check")


@knowledge.command()
def check(
    sources: Annotated[
        list[str] | None, typer.Argument(help="What to read.", show_default="what SUPPORT_KNOWLEDGE names")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
    offline: Offline = False,
) -> None:
    """Say what is read of the articles, what not and why, and their desks; exits 1 where something is at fault."""
    from graph.retrieval.articles import read_library
    from graph.retrieval.inspection import Inspection

    logging.disable()  # it says the same
    settings = load_settings(offline=offline)
    if sources:
        settings = settings.model_copy(update={"knowledge": ",".join(sources)})
    with named_by(sources):
        library = read_library(settings)
    inspection = Inspection(library, _by_meaning(settings, library))
    if as_json:
        print(json.dumps(_as_json(inspection), ensure_ascii=False, indent=2))
    else:
        print_rows(
            [("read", f"{counted(len(library.articles), 'article')} from {settings.sources_named}"), *_rows(inspection)]
        )
    if inspection.faults:
        raise typer.Exit(1)


def _documents(folder: Path) -> "list[Document]":
    """Return what a folder holds, with labels; raises KnowledgeError if it can't be read at all."""
    from graph.retrieval.company import UNNAMED
    from graph.retrieval.sources import Document
    from graph.retrieval.sources.opening import open_source

    found = open_source(str(folder), UNNAMED).changes({})
    return [change for change in found if isinstance(change, Document)]


def _by_meaning(settings: ServiceSettings, library: "Library") -> dict[str, str]:
    """Return the desks of articles that no rule names, by their ids; none of them where there is no model."""
    if all(article.desk for article in library.articles):
        return {}
    try:
        with embedded(settings, redis=False) as started:
            started.wait()
            return asyncio.run(_nearest(ServiceSettings.load(), library))
    except (LocalServiceError, ModelError):
        return {}


async def _nearest(settings: ServiceSettings, library: "Library") -> dict[str, str]:
    if not settings.has_model:
        return {}
    from graph.models import open_models
    from graph.retrieval.desks import desks_by_meaning

    async with open_models(settings) as models:
        return await desks_by_meaning(library.articles, library.company, models.embed)


def _rows(inspection: "Inspection") -> Iterator[Row]:
    """Yield what was found, with a word that says what it is about."""
    from graph.retrieval.inspection import words

    for reason, count in inspection.reasons.items():
        yield "left out", f"{count}: {reason}"
    for pattern in inspection.idle_patterns:
        yield "left out", f"0: no article matches leave_out ({pattern})"
    if folders := inspection.doubtful_folders:
        told = ", ".join(f"{folder} ({counted(count, 'article')})" for folder, count in folders.items())
        yield (
            "warning",
            f"read, though the names of folders sound internal: {told}; leave_out in company.yaml has `path`",
        )
    for fault in inspection.faults:
        yield "fault", f"{fault.where}: {fault.reason}"
    yield from _desk_rows(inspection)
    yield "languages", ", ".join(f"{language} {count}" for language, count in inspection.languages.items()) or "none"
    for article in inspection.longest:
        yield "longest", f"{counted(words(article), 'word')}: {article.title} ({article.id})"
    yield from several("same title", [f"{some[0].title}: {_ids(some)}" for some in inspection.same_titles])
    yield from several("same text", [_ids(some) for some in inspection.same_texts])
    yield from several("dead link", [f"{target} in {article.id}" for article, target in inspection.broken_links])


def _desk_rows(inspection: "Inspection") -> Iterator[Row]:
    decided = Counter(map(inspection.desk_of, inspection.library.articles))
    for desk in inspection.library.company.desks:
        how = {how: count for (name, how), count in decided.items() if name == desk.name}
        said = ", ".join(f"{count} by {how}" for how, count in how.items() if how != "one desk")
        contact = desk.contact or "no contact, so customers are told of none"
        yield "desk", f"{desk.name}: {counted(sum(how.values()), 'article')}{f' ({said})' if said else ''}; {contact}"
    if undecided := decided[None, "meaning"]:
        yield "desk", f"{counted(undecided, 'article')} by meaning, once there is a model"


def _as_json(inspection: "Inspection") -> dict[str, Any]:
    from graph.retrieval.inspection import words

    library = inspection.library
    desks = {article.id: inspection.desk_of(article) for article in library.articles}
    return {
        "company": library.company.name,
        "desks": [
            {
                "name": desk.name,
                "contact": desk.contact or None,
                "articles": sum(name == desk.name for name, _ in desks.values()),
            }
            for desk in library.company.desks
        ],
        "articles": [
            {
                "id": article.id,
                "title": article.title,
                "url": article.url,
                "language": article.language,
                "words": words(article),
                "desk": desks[article.id][0],
                "decided_by": desks[article.id][1],
            }
            for article in library.articles
        ],
        "left_out": [{"where": one.where, "reason": one.reason, "is_fault": one.is_fault} for one in library.left_out],
        "idle_patterns": inspection.idle_patterns,
        "doubtful_folders": inspection.doubtful_folders,
        "languages": inspection.languages,
        "same_titles": [[article.id for article in some] for some in inspection.same_titles],
        "same_texts": [[article.id for article in some] for some in inspection.same_texts],
        "broken_links": [{"article": article.id, "link": link} for article, link in inspection.broken_links],
    }


def _ids(articles: "Sequence[Article]") -> str:
    return ", ".join(article.id for article in articles)
