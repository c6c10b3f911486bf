"""`support-agent feedback export`: exports badly rated answers as evaluation cases."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.settings import ServiceSettings
from cli.stored import reading_redis, with_redis
from graph.observe.cases import case_of

if TYPE_CHECKING:
    from graph.observe.feedback import Rating

feedback = typer.Typer(help="Customers' ratings of answers.", no_args_is_help=True)


@feedback.callback()
def _feedback() -> None: ...


@feedback.command()
def export(
    below: Annotated[float, typer.Option(min=0, max=1, help="Export answers that were rated below this.")] = 0.5,
    output: Annotated[Path | None, typer.Option(help="File to write. Default: standard output.")] = None,
) -> None:
    """Export badly rated runs as cases for `support-agent eval`; add what each answer must state."""
    ratings = asyncio.run(_bad(with_redis(ServiceSettings.load()), below))
    text = "\n".join(map(_case, ratings))
    if output:
        output.write_text(text)
        print(f"{len(ratings)} cases in {output}")
    else:
        print(text, end="")


async def _bad(settings: ServiceSettings, below: float) -> "list[Rating]":
    from graph.observe.feedback import Feedback
    from graph.observe.redaction import Redactor

    async with reading_redis(settings) as redis:
        return await Feedback(redis, Redactor()).below(below)


def _case(rating: "Rating") -> str:
    return case_of(rating.record, f"feedback-{rating.run_id}", score=rating.score, comment=rating.comment)
