"""`support-agent chat`: a conversation in the terminal."""

import asyncio
import re
import sys
import uuid
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from support_agent.api.settings import ServiceSettings
from support_agent.cli.embedded import embedded
from support_agent.cli.question import checked, write_event
from support_agent.graph.errors import RunError, SettingsError

if TYPE_CHECKING:
    from support_agent.graph.agent import SupportAgent


def chat(session: Annotated[str | None, typer.Option(help="Go on with this conversation.")] = None) -> None:
    """Talk with the agent; Ctrl-C stops an answer, Ctrl-D ends the conversation."""
    settings = ServiceSettings.load()
    with embedded(settings, redis=True) as started:
        # Imported while the local services start, since it takes seconds.
        from support_agent.graph.agent import open_agent
        from support_agent.graph.redis import open_redis
        from support_agent.graph.state import SESSION_ID

        if session is not None and not re.fullmatch(SESSION_ID, session):
            raise SettingsError("--session: must be 1 to 128 letters, digits, dots, hyphens or underscores")
        started.wait()
        settings = ServiceSettings.load().require(redis=True)
        with asyncio.Runner() as runner:
            stack = AsyncExitStack()
            try:
                redis = runner.run(stack.enter_async_context(open_redis(settings)))
                agent = runner.run(stack.enter_async_context(open_agent(settings, redis)))
                _converse(runner, agent, session or uuid.uuid4().hex)
            finally:
                runner.run(stack.aclose())


def _converse(runner: asyncio.Runner, agent: "SupportAgent", session: str) -> None:
    from support_agent.graph.state import AgentContext

    console = Console(highlight=False)
    history = runner.run(agent.sessions.history(session, AgentContext().tenant))
    for message in history.messages if history else ():
        console.print(Text(f"{'>' if message.type == 'human' else ' '} {message.text}", style="dim"), soft_wrap=True)
    console.print(Text(f"session {session}; Ctrl-C stops an answer, Ctrl-D ends", style="dim"), soft_wrap=True)
    while True:
        try:
            message = input("> ")
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        try:
            runner.run(_answer(agent, session, checked(message)))
        except KeyboardInterrupt:
            console.print(Text("\n(stopped)", style="dim"))
        except (RunError, SettingsError) as error:
            print(f"\n{error}", file=sys.stderr)


async def _answer(agent: "SupportAgent", session: str, message: str) -> None:
    from support_agent.graph.runs import Turn
    from support_agent.graph.state import AgentContext

    run = await agent.sessions.chat(message, session, AgentContext())
    try:
        async for _, event in run.follow():
            write_event(event)
    except asyncio.CancelledError:
        if isinstance(run, Turn):
            run.cancel()
            await run.ended()
        raise
