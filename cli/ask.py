"""`support-agent ask`: one question, its answer streamed to the terminal."""

import asyncio
from typing import Annotated

import typer

from api.settings import ServiceSettings
from cli.embedded import embedded
from cli.question import checked, write_event


def ask(question: Annotated[str, typer.Argument(help="What a customer wants to know.")]) -> None:
    """Ask one question and stream the answer, then its category and sources."""
    settings = ServiceSettings.load()
    with embedded(settings, redis=False) as started:
        asked = checked(question)  # imports what takes seconds, while the local services start
        started.wait()
        asyncio.run(_stream(ServiceSettings.load(), asked))


async def _stream(settings: ServiceSettings, question: str) -> None:
    from graph.agent import open_agent

    async with open_agent(settings) as agent:
        await agent.knowledge.indexed()
        async with agent.stream(question) as run:
            async for _, event in run.follow():
                write_event(event)
