"""`support-agent feedback export`: exports badly rated answers as evaluation cases."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from api.settings import ServiceSettings
from graph.errors import SettingsError

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
    settings = ServiceSettings.load()
    if settings.redis_url is None:
        raise SettingsError("missing in the environment: REDIS_URL, the Redis in which the service stores ratings")
    ratings = asyncio.run(_bad(settings, below))
    text = "\n".join(map(_case, ratings))
    if output:
        output.write_text(text)
        print(f"{len(ratings)} cases in {output}")
    else:
        print(text, end="")


async def _bad(settings: ServiceSettings, below: float) -> "list[Rating]":
    from graph.errors import MemoryUnavailable
    from graph.observe.feedback import Feedback
    from graph.observe.redaction import Redactor
    from graph.redis import open_redis
    from graph.redis_faults import trouble_of

    async with open_redis(settings) as redis:
        try:
            return await Feedback(redis, Redactor()).below(below)
        except MemoryUnavailable as error:
            trouble = trouble_of(error.reason)
            raise SettingsError(f"REDIS_URL: Redis {trouble.reason}; {trouble.remedy}") from None


def _case(rating: "Rating") -> str:
    """Return a case without expectations; an evaluation refuses it until somebody adds them."""
    record = rating.record
    name = f"feedback-{rating.run_id}"
    case: dict[str, Any] = {"id": name, "intent": name, "split": "tune", "question": record.question}
    if record.category:
        case["category"] = record.category
    about = {
        "score": f"{rating.score:g}",
        "comment": rating.comment,
        "answered": record.answer or record.error,
        "found": ", ".join(record.sources),
    }
    lines = [f"# {key}: {_line(value)}" for key, value in about.items() if value]
    return "\n".join([*lines, yaml.safe_dump([case], allow_unicode=True, sort_keys=False, width=110)])


def _line(text: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in " ".join(text.split()))
