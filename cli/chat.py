"""`support-agent chat`: a conversation in the terminal."""

import asyncio
import logging
import re
import signal
import sys
import uuid
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from api.settings import ServiceSettings
from cli.embedded import Offline, embedded, load_settings
from cli.question import AnswerWriter, checked, print_dim
from graph.errors import RunError, SettingsError

if TYPE_CHECKING:
    from langchain_core.messages import AnyMessage

    from graph.agent import SupportAgent
    from graph.redis import WatchedRedis


def chat(
    session: Annotated[str | None, typer.Option(help="Id of the conversation to continue.")] = None,
    offline: Offline = False,
) -> None:
    """Chat with the agent. Ctrl-C stops an answer, Ctrl-D ends the conversation."""
    settings = load_settings(offline=offline)
    with embedded(settings, redis=True) as started:
        # Imported here because it takes seconds, while the local services start.
        from graph.agent import open_agent
        from graph.redis import open_redis
        from graph.state import SESSION_ID

        if session is not None and not re.fullmatch(SESSION_ID, session):
            raise SettingsError("--session: must be 1 to 128 letters, digits, dots, hyphens or underscores")
        started.wait()
        settings = ServiceSettings.load().require(redis=True)
        logging.disable()  # a failure is one line, which says the same
        with asyncio.Runner() as runner:
            stack = AsyncExitStack()
            try:
                redis = runner.run(stack.enter_async_context(open_redis(settings)))
                runner.run(_check(redis))
                agent = runner.run(stack.enter_async_context(open_agent(settings, redis)))
                runner.run(agent.knowledge.indexed())
                _converse(runner, agent, session or uuid.uuid4().hex)
            finally:
                runner.run(stack.aclose())


async def _check(redis: "WatchedRedis") -> None:
    """Raise SettingsError where Redis does not take what a turn needs: a turn that fails would not say why."""
    from graph.redis_check import find_trouble

    trouble = await find_trouble(redis, redis.faults)
    if trouble and trouble.stops_turns:
        raise SettingsError(f"REDIS_URL: Redis {trouble.reason}; {trouble.remedy}")


def _converse(runner: asyncio.Runner, agent: "SupportAgent", session: str) -> None:
    from graph.state import AgentContext

    history = runner.run(agent.sessions.history(session, AgentContext().owner))
    for message in history.messages if history else ():
        print_dim(_shown(message))
    print_dim(f"session {session}; Ctrl-C stops an answer, Ctrl-D ends")
    read: set[str] = {str(message.id) for message in history.messages} if history else set()
    while True:
        try:
            message = input("> ")
        except EOFError:
            print()
            return
        except KeyboardInterrupt:
            print()
            continue
        try:
            for line in runner.run(_from_colleagues(agent, session, read)):
                print_dim(line)
            if not runner.run(_answer(agent, session, checked(message))):
                return
        except KeyboardInterrupt:
            print_dim("\n(stopped)")
        except (RunError, SettingsError) as error:
            print(f"\n{error}", file=sys.stderr)


def _shown(message: "AnyMessage") -> str:
    from graph.actions.handoffs import role_of

    return {"user": "> ", "assistant": "  ", "agent": "  a colleague: "}[role_of(message)] + message.text


async def _from_colleagues(agent: "SupportAgent", session: str, read: set[str]) -> list[str]:
    """Return what persons of the team have written meanwhile, while the conversation is or was handed over."""
    from graph.actions.handoffs import role_of
    from graph.state import AgentContext

    history = await agent.sessions.history(session, AgentContext().tenant)
    new = [message for message in history.messages if message.id not in read] if history else []
    read |= {str(message.id) for message in new}
    return [_shown(message) for message in new if role_of(message) == "agent"]


async def _answer(agent: "SupportAgent", session: str, message: str) -> bool:
    """Stream an answer; return False if SIGTERM has ended the conversation."""
    from graph.state import AgentContext

    turn = agent.sessions.turn(message, session, AgentContext())
    writer = AnswerWriter()
    with _cancelled_by_sigterm() as terminated:
        try:
            run = await agent.sessions.begin(turn)
            async for _, event in run.follow():
                writer.write(event)
        except asyncio.CancelledError:
            turn.cancel()
            await turn.ended()
            if not terminated.is_set():
                raise
    return not terminated.is_set()


@contextmanager
def _cancelled_by_sigterm() -> Generator[asyncio.Event]:
    """Cancel this task on SIGTERM, since an exception from the signal handler could interrupt it anywhere."""
    loop, task, terminated = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()

    def terminate() -> None:
        terminated.set()
        if task:
            task.cancel()

    before = signal.getsignal(signal.SIGTERM)
    loop.add_signal_handler(signal.SIGTERM, terminate)
    try:
        yield terminated
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)
