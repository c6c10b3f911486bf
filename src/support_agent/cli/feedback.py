"""`support-agent feedback export`: badly rated answers, as cases to evaluate the agent with."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from support_agent.api.settings import ServiceSettings
from support_agent.graph.errors import SettingsError

if TYPE_CHECKING:
    from support_agent.graph.feedback import Rating

feedback = typer.Typer(help="What customers think of answers.", no_args_is_help=True)


@feedback.callback()
def _feedback() -> None: ...


@feedback.command()
def export(
    below: Annotated[float, typer.Option(min=0, max=1, help="Scores below this are bad.")] = 0.5,
    output: Annotated[Path | None, typer.Option(help="File to write; standard output without one.")] = None,
) -> None:
    """Write badly rated runs as YAML cases: what was asked and answered, for you to say what is right."""
    settings = ServiceSettings.load()
    if settings.redis_url is None:
        raise SettingsError("missing in the environment: REDIS_URL, where the service keeps the ratings")
    ratings = asyncio.run(_bad(settings, below))
    text = yaml.safe_dump([_case(rating) for rating in ratings], allow_unicode=True, sort_keys=False, width=120)
    if output:
        output.write_text(text)
        print(f"{len(ratings)} cases in {output}")
    else:
        print(text, end="")


async def _bad(settings: ServiceSettings, below: float) -> "list[Rating]":
    from support_agent.graph.errors import MemoryUnavailable
    from support_agent.graph.feedback import Feedback
    from support_agent.graph.redaction import Redactor
    from support_agent.graph.redis import open_redis

    async with open_redis(settings) as redis:
        try:
            return await Feedback(redis, Redactor()).below(below)
        except MemoryUnavailable:
            raise SettingsError("REDIS_URL: Redis can't be reached; start it, or correct the address") from None


def _case(rating: "Rating") -> dict[str, Any]:
    record = rating.record
    return {
        "id": f"feedback-{rating.run_id}",
        "question": record.question,
        "category": record.category,
        "articles": list(record.sources),
        "answered": record.answer,
        "error": record.error,
        "score": rating.score,
        "comment": rating.comment,
    }
