"""`support-agent ask`: asks one question and streams the answer to the terminal."""

import asyncio
import logging
from typing import Annotated

import typer

from api.settings import ServiceSettings
from cli.embedded import Offline, embedded, load_settings
from cli.question import AnswerWriter, checked


def ask(question: Annotated[str, typer.Argument(help="The customer's question.")], offline: Offline = False) -> None:
    """Ask one question; stream the answer, then print its category and sources."""
    settings = load_settings(offline=offline)
    with embedded(settings, redis=False) as started:
        asked = checked(question)  # its imports take seconds, while the local services start
        started.wait()
        asyncio.run(_stream(ServiceSettings.load(), asked))


async def _stream(settings: ServiceSettings, question: str) -> None:
    from graph.agent import open_agent

    logging.disable()  # a failure is one line, which says the same
    async with open_agent(settings) as agent:
        await agent.knowledge.indexed()
        writer = AnswerWriter()
        async with agent.stream(question) as run:
            async for _, event in run.follow():
                writer.write(event)
