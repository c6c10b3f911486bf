"""`support-agent ask`: one question, its answer streamed to the terminal."""

import asyncio
from typing import Annotated

import typer

from support_agent.api.settings import ServiceSettings
from support_agent.cli.embedded import embedded
from support_agent.cli.question import checked, write_event


def ask(question: Annotated[str, typer.Argument(help="What a customer wants to know.")]) -> None:
    """Ask one question and stream the answer, then its category and sources."""
    settings = ServiceSettings.load()
    with embedded(settings, redis=False) as started:
        asked = checked(question)  # imports what takes seconds, while the local services start
        started.wait()
        asyncio.run(_stream(ServiceSettings.load(), asked))


async def _stream(settings: ServiceSettings, question: str) -> None:
    from support_agent.graph.agent import open_agent

    async with open_agent(settings) as agent, agent.stream(question) as run:
        async for _, event in run.follow():
            write_event(event)
