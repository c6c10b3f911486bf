import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

from redis.asyncio import Redis

from conftest import REPOSITORY
from graph.actions.handoffs import Handoffs
from graph.runs.colleagues import Colleagues
from graph.runs.memory import Memory
from harness.commands import COMMAND, run
from harness.scripted_model import ScriptedModel, stall, tokens


def test_chat_remembers_what_was_said() -> None:
    """A conversation in the terminal remembers earlier messages and shows categories and sources."""
    result = subprocess.run(
        [COMMAND, "chat", "--session", "visit-1"],
        cwd=REPOSITORY,
        input="What are your opening hours?\n \nAnd on public holidays?\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "session visit-1" in result.stdout
    assert "source    opening-hours" in result.stdout
    assert result.stdout.count("\ncategory  ") == 2
    assert "source    public-holidays" in result.stdout
    assert "question: " in result.stderr
    assert "Traceback" not in result.stderr


def test_chat_names_what_is_wrong_with_redis() -> None:
    """In one line, with what mends it, since no conversation is possible."""
    result = run("chat", REDIS_URL="redis://127.0.0.1:1/0", OPENAI_BASE_URL="http://127.0.0.1:1/v1")
    said = "support-agent: REDIS_URL: Redis can't be reached; start Redis, or correct REDIS_URL\n"
    assert (result.returncode, result.stderr) == (1, said)


async def test_ctrl_c_stops_the_answer_and_not_the_conversation(
    model: ScriptedModel, redis_url: str, articles: Path
) -> None:
    """After Ctrl-C the conversation continues without the stopped message; --session shows the history."""
    environment = configured(model, redis_url, articles)
    model.script("answer", tokens(["Half"], then=stall), tokens(["Whole"]))
    async with talking(environment) as process:
        await type_line(process, "First?")
        while not model.of("answer"):
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGINT)
        await type_line(process, "Second?")
        output, _ = await asyncio.wait_for(process.communicate(b""), 30)
    text = output.decode()
    assert "(stopped)" in text
    assert "Whole" in text
    assert process.returncode == 0
    assert model.of("answer")[0].cut
    assert model.of("answer")[1].prompt[1:] == [("user", "Second?")]
    async with talking(environment) as process:
        output, _ = await asyncio.wait_for(process.communicate(b""), 30)
    assert "> Second?\n  Whole" in output.decode()


async def test_a_person_of_the_team_is_shown_in_the_terminal(
    model: ScriptedModel, redis: Redis, redis_url: str, articles: Path
) -> None:
    """The customer sees that the conversation was handed over, and what a colleague has written meanwhile."""
    handoffs = Handoffs(redis, 1800, 60, is_received=False)
    async with talking(configured(model, redis_url, articles)) as process:
        await type_line(process, "I want to talk to a human")
        async with asyncio.timeout(60):
            while not (lasting := await handoffs.lasting()):
                await asyncio.sleep(0.05)
        (record,) = lasting
        memory = Memory(redis, 1800, handoffs)
        colleagues = Colleagues(handoffs, memory, lambda _: nullcontext(), 20)
        await colleagues.answer(record.id, "Anna here.")
        output, _ = await asyncio.wait_for(process.communicate(b"Still there?\n"), 60)
        await colleagues.release(record.id)  # other tests have a session of the same name
    shown = output.decode()
    assert "handed    over to a person (asked)" in shown
    assert "  a colleague: Anna here." in shown
    assert "passed your message on" in shown


async def test_sigterm_ends_an_answer_quietly(model: ScriptedModel, redis_url: str, articles: Path) -> None:
    """SIGTERM ends the program with 0 and no traceback, and cancels the model call."""
    environment = configured(model, redis_url, articles)
    model.script("answer", tokens(["\x1b[2JHalf"], then=stall))
    async with talking(environment) as process:
        await type_line(process, "First?")
        while not model.of("answer"):
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        output, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    assert "Traceback" not in output.decode()
    assert "> [2JHalf" in output.decode()
    assert model.of("answer")[0].cut


def configured(model: ScriptedModel, redis_url: str, articles: Path) -> dict[str, str]:
    return {
        **os.environ,
        "OPENAI_BASE_URL": model.url,
        "REDIS_URL": redis_url,
        "SUPPORT_KNOWLEDGE": str(articles),
    }


@asynccontextmanager
async def talking(environment: dict[str, str]) -> AsyncGenerator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        "chat",
        "--session",
        "visit-2",
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def type_line(process: asyncio.subprocess.Process, line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n".encode())
    await process.stdin.drain()


def test_chat_refuses_a_bad_session() -> None:
    """An invalid session id is refused in one line."""
    result = run("chat", "--session", "a b")
    assert result.returncode == 1
    assert result.stderr.startswith("support-agent: --session: must be")
