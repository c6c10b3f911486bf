"""`support-agent knowledge sync`: bring what the sources hold to the replicas."""

import asyncio
import json
import logging
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from api.settings import ServiceSettings
from cli.embedded import embedded, load_settings, named_by
from cli.rows import Row, counted, print_rows, several
from graph.errors import KnowledgeError, ModelError, SettingsError

if TYPE_CHECKING:
    from graph.retrieval.articles import Library
    from graph.retrieval.syncing import Synced

_NICE = 10  # how far it stands back from what answers customers on the same machine

_NOWHERE = (
    "DATABASE_URL is not set, and no folder keeps vectors (SUPPORT_CACHE_DIR, or no model): there is nothing to write; "
    "replicas without Postgres read their sources by themselves"
)

_ON_DISK = (
    "DATABASE_URL is not set: the vectors are kept on disk, so that replicas here start and follow quickly; they read "
    "the articles by themselves"
)


@dataclass(frozen=True, slots=True)
class _Result:
    library: "Library"
    done: "Synced"
    is_stored: bool
    """In Postgres, rather than as vectors on disk."""


def sync(
    sources: Annotated[
        list[str] | None, typer.Argument(help="What to read.", show_default="what SUPPORT_KNOWLEDGE names")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also if nothing is left, or more than half of the articles is gone.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Bring what has changed in the articles to the replicas, which serve it within seconds; only that is embedded."""
    logging.basicConfig(format="%(message)s")
    logging.getLogger("graph.retrieval").setLevel(logging.INFO)
    os.nice(_NICE)
    with named_by(sources), embedded(_settings(sources), redis=False) as started:
        started.wait()
        settings = _settings(sources).require()
        try:
            result = asyncio.run(_sync(settings, force=force))
        except ModelError as error:
            raise KnowledgeError(
                f"the embedding model {settings.embedding_model!r} gave no vectors ({error.reason}); check "
                f"{settings.embedding_url_name} and SUPPORT_EMBEDDING_MODEL; what was embedded is kept, so run it again"
            ) from None
    if as_json:
        print(json.dumps(_as_json(result), ensure_ascii=False, indent=2))
    else:
        print_rows(list(_rows(result, settings)))


def _settings(sources: list[str] | None) -> ServiceSettings:
    settings = load_settings(offline=False)
    return settings.model_copy(update={"knowledge": ",".join(sources)}) if sources else settings


async def _sync(settings: ServiceSettings, *, force: bool) -> _Result:
    from graph.models import open_models
    from graph.retrieval.kept import has_folder

    if settings.database_url is None and not has_folder(settings):
        raise SettingsError(_NOWHERE)
    async with open_models(settings) as models:
        if settings.database_url is not None:
            from graph.retrieval.syncing import sync_to_postgres

            library, done = await sync_to_postgres(settings, models, force=force)
        else:
            from graph.retrieval.keeping import sync_to_disk

            library, done = await sync_to_disk(settings, models)
    return _Result(library, done, settings.database_url is not None)


def _rows(result: _Result, settings: ServiceSettings) -> Iterator[Row]:
    """Yield what was done, with a word that says what it is about."""
    from graph.retrieval.articles import named

    library, done = result.library, result.done
    yield "read", f"{counted(len(library.articles), 'article')} from {settings.sources_named}"
    for reason, count in Counter(one.reason for one in library.left_out if not one.is_fault).most_common():
        yield "left out", f"{count}: {reason}"
    yield from several("fault", [named(fault) for fault in library.faults])
    if result.is_stored:
        difference = done.difference
        yield from several("added", difference.added)
        yield from several("changed", difference.changed)
        yield from several("removed", difference.removed)
        if not any((difference.added, difference.changed, difference.removed)):
            yield "unchanged", "Postgres has the same articles already"
    refused = f"; the model refuses {done.refused:,}" if done.refused else ""
    yield "embedded", f"{done.embedded:,} of {counted(done.passages, 'passage')}{refused}"
    yield "took", ", ".join(f"{phase} {seconds:.1f} s" for phase, seconds in done.seconds.items())
    if result.is_stored:
        yield "set", f"{done.number}; replicas serve it within 10 seconds"
    else:
        yield "no set", _ON_DISK


def _as_json(result: _Result) -> dict[str, object]:
    library, done = result.library, result.done
    difference = done.difference
    compared = {"added": difference.added, "changed": difference.changed, "removed": difference.removed}
    return {
        "set": done.number if result.is_stored else None,
        "articles": len(library.articles),
        "passages": done.passages,
        "embedded": done.embedded,
        "refused": done.refused,
        **(compared if result.is_stored else dict.fromkeys(compared)),
        "left_out": [{"where": one.where, "reason": one.reason, "is_fault": one.is_fault} for one in library.left_out],
        "seconds": {phase: round(seconds, 3) for phase, seconds in done.seconds.items()},
    }
