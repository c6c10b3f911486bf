"""A help centre that changes while customers ask, and what they may be answered."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import httpx
from starlette.types import Send

from harness.scripted_model import Call, tokens

LONG = 60.0
"""Seconds that answers may take to follow: endless, by any measure."""

_MARK = re.compile(r"\bmark-[a-z]+-\d+\b")
_PROSE = "What zebras cost depends on their stripes, their age and where they live. " * 17


async def quote(call: Call, send: Send) -> None:
    """Answer with the marks of all passages that the prompt has."""
    found = dict.fromkeys(_MARK.findall(" ".join(text for _, text in call.prompt)))
    await tokens([" ".join(found) or "nothing"])(call, send)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a customer was told."""

    replica: int
    began: float
    marks: frozenset[str]
    cache: str


class Changing:
    """One article in two passages, each of which has the article's mark, and others beside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, number: int, *, draft: bool = False) -> str:
        """Write an article as its `number`th version, and return its mark."""
        mark = f"mark-{name}-{number}"
        matter = f"title: What {name} zebras cost\ndraft: {str(draft).lower()}"
        text = f"---\n{matter}\n---\n\n{_PROSE} {mark}\n\n## More\n\n{_PROSE} {mark}\n"
        beside = self._folder / f".{name}"  # as editors and rsync do
        beside.write_text(text)
        beside.rename(self._folder / f"{name}.md")
        return mark

    def remove(self, name: str) -> None:
        """Remove an article."""
        (self._folder / f"{name}.md").unlink()


class Customers:
    """Ask all replicas, in turn, so many questions a second: half of them the same, which is kept."""

    def __init__(self, urls: Sequence[str], rate: float) -> None:
        self._urls = urls
        self._rate = rate
        self.answers: list[Answer] = []
        self.failures: list[str] = []

    async def ask(self) -> None:
        """Ask until cancelled."""
        async with httpx.AsyncClient(timeout=LONG) as client, asyncio.TaskGroup() as group:
            for number in count():
                group.create_task(self._ask(client, number))
                await asyncio.sleep(1 / self._rate)

    async def _ask(self, client: httpx.AsyncClient, number: int) -> None:
        replica, began = number // 2 % len(self._urls), time.monotonic()
        question = "What do zebras cost?" if number % 2 else f"What do zebras cost, please? {number}"
        try:
            answer = await client.post(f"{self._urls[replica]}/ask", json={"question": question})
        except httpx.HTTPError as error:
            self.failures.append(repr(error))
            return
        if answer.status_code != 200:
            self.failures.append(answer.text)
            return
        marks = frozenset(_MARK.findall(answer.json()["answer"]))
        self.answers.append(Answer(replica, began, marks, answer.headers["X-Cache"]))

    async def follow(self, *marks: str) -> float:
        """Wait until each replica answers with these marks, and return how many seconds that took.

        From then on no question that begins later may be answered otherwise, a kept answer no more than another.
        """
        began = time.monotonic()
        followed, wanted = set[int](), frozenset(marks)
        async with asyncio.timeout(LONG):
            while len(followed) < len(self._urls):
                await asyncio.sleep(0.05)
                followed |= {one.replica for one in self.answers if one.began > began and one.marks == wanted}
        latest = time.monotonic()
        await asyncio.sleep(6 / self._rate)
        late = [answer for answer in self.answers if answer.began > latest]
        assert all(answer.marks == wanted for answer in late)
        return latest - began


async def _nothing() -> None:
    """Do nothing: replicas follow files by themselves."""


async def change_everything(
    urls: Sequence[str], folder: Path, rate: float = 20, publish: Callable[[], Awaitable[None]] = _nothing
) -> tuple[list[float], Customers]:
    """Change, add and remove an article and make one a draft while customers ask; return how long each took.

    `publish` brings each change to the replicas, and takes no part in that.
    """
    changing, customers = Changing(folder), Customers(urls, rate)
    asking = asyncio.create_task(customers.ask())
    try:
        await customers.follow("mark-plain-1")
        took: list[float] = []
        changing.write("plain", 2)
        await publish()
        took.append(await customers.follow("mark-plain-2"))
        changing.write("rare", 1)
        await publish()
        took.append(await customers.follow("mark-plain-2", "mark-rare-1"))
        changing.write("rare", 2, draft=True)
        await publish()
        took.append(await customers.follow("mark-plain-2"))
        changing.write("rare", 3)
        await publish()
        took.append(await customers.follow("mark-plain-2", "mark-rare-3"))
        changing.remove("plain")
        await publish()
        took.append(await customers.follow("mark-rare-3"))
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    return took, customers
