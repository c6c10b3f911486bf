"""`support-agent ask`: one question, its answer streamed to the terminal."""

import asyncio
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from support_agent.api.settings import ServiceSettings
from support_agent.cli.embedded import embedded
from support_agent.graph.errors import SettingsError
from support_agent.graph.settings import AgentSettings


def ask(question: Annotated[str, typer.Argument(help="What a customer wants to know.")]) -> None:
    """Ask one question and stream the answer, then its category and sources."""
    settings = ServiceSettings.load()
    with embedded(settings, redis=False) as started:
        checked = _checked(question)
        started.wait()
        asyncio.run(_stream(ServiceSettings.load(), checked))


def _checked(question: str) -> str:
    # Imported while the local services start, since it takes seconds.
    from pydantic import TypeAdapter, ValidationError

    from support_agent.graph.state import Question

    try:
        return TypeAdapter[str](Question).validate_python(question)
    except ValidationError as error:
        message = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise SettingsError(f"question: {message}") from None


async def _stream(settings: AgentSettings, question: str) -> None:
    from support_agent.graph.agent import open_agent
    from support_agent.graph.events import Done, Failed, Token

    async with open_agent(settings) as agent, agent.stream(question) as run:
        async for event in run:
            if isinstance(event, Token):
                sys.stdout.write(event.text)
                sys.stdout.flush()
            elif isinstance(event, Failed):
                raise event.error
            elif isinstance(event, Done):
                lines = [f"category  {event.category}"]
                lines += [f"source    {source.id}  {source.title}" for source in event.sources]
                Console(highlight=False).print(Text("\n\n" + "\n".join(lines), style="dim"), soft_wrap=True)
