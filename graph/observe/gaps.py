"""Questions that the articles do not answer, kept in Redis so that somebody can write the articles.

`feedback:gap:<hash>` is a question as a tenant's customers have worded it, masked, with its desk, what was found for
it, and how often it was asked on each day. `feedback:gaps` has the names of these keys with their expiry, so that those
that were not asked for the longest time can be deleted when there are too many. No session, customer or run is named.
"""

import hashlib
import re
import time
import unicodedata
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from pydantic import Json, TypeAdapter
from redis.asyncio import Redis

from graph.events import Done
from graph.observe import KEPT_DAYS
from graph.observe.background import Background
from graph.observe.feedback import BOUNDED
from graph.observe.redaction import DROPPED, Redactor
from graph.observe.report import RunReport
from graph.redis import memory_errors

MOST = 5000
"""Questions that are kept."""

LONGEST = 1000
"""Bytes of a question that are kept, in UTF-8."""

_INDEX = "feedback:gaps"
_DAY = 86_400
_REPEATED = 10  # seconds in which redis-py may repeat a command

# Counts a question on a day, and forgets the days that are too long ago. redis-py may send it twice: KEYS[3] has a new
# name for each question that is asked. The limits are BOUNDED's.
_COUNT = f"""\
if not redis.call('set', KEYS[3], '', 'NX', 'EX', {_REPEATED}) then return end
local found = redis.call('get', KEYS[1])
local gap = found and cjson.decode(found) or {{days = {{}}}}
local days = {{[ARGV[5]] = (gap.days[ARGV[5]] or 0) + 1}}
for day, times in pairs(gap.days) do
  if day ~= ARGV[5] and day + ARGV[6] > ARGV[5] + 0 then days[day] = times end
end
local new = cjson.encode({{gap = ARGV[1], days = days}})
redis.call('set', KEYS[1], new, 'EX', ARGV[2])
{BOUNDED}"""

# Names in the index are whole, with SUPPORT_REDIS_PREFIX, so they are not sent here and back.
_ALL = """\
local found = {}
for _, name in ipairs(redis.call('zrange', KEYS[1], 0, -1)) do found[#found + 1] = redis.call('get', name) or nil end
return found"""

_FEWEST = 5  # digits of a number that may stand for a customer; shorter ones are years, ports or codes of errors
_SHORTEST = 3  # digits behind a word such as `order` with something between, as in "my order is 551"
_OF = r"""(?:order|invoice|customer|account|client|ticket|booking|contract|case|ref|reference|member|serial|bestell\w*|
    rechnungs?\w*|kunden\w*|commande|facture|pedido|factura|bestelling|factuur|klant\w*)"""
_NO = r"(?:(?:no|nr|num|number|id|nummer|num[e\u00e9]ro|n[u\u00fa]mero)\b|n\u00b0|n\u00ba|\u2116)"
_IS = r"(?:is|was|are|ist|war|lautet|est|es|ending(?:\s(?:in|with))?|endet(?:\sauf)?)\b"
_NEAR = r"[\s:.=\#]{0,5}"
_APART = r"""[\s:.=\#,;("'_\u2013\u2014-]{0,5}"""
_PART = r"\w*\d\w*"
_MORE = rf"(?:[\s,&]{{1,3}}(?:(?:and|or|und|oder|et|ou|y|o|en)\s)?\d{{{_SHORTEST},}}\b)*"
_NUMBER = re.compile(
    rf"""(?:(?P<of>\#\s?|\b{_OF}\b{_NEAR}(?:{_NO}{_NEAR}(?:{_IS}{_NEAR})?)?)
    |(?P<loose>\b(?:{_OF}s?|po|card|pin|passport)(?:\b|(?=id|no|nr)){_APART}(?:{_NO}{_APART})?(?:{_IS}{_APART})?))?
    (?<!\w)(?P<number>(?:[^\W\d_]{{1,6}}[-/])?{_PART}(?:[ ./-]{_PART})*)
    (?P<before>(?=\s(?:is|was|ist|est|es)\s\w{{1,6}}\s{_OF}\b))?
    (?(of){_MORE}|(?(loose){_MORE}))""",
    re.IGNORECASE | re.VERBOSE,
)
_SECRET = re.compile(  # a word with a digit, since "my password is wrong" is none
    r"(?P<before>\b(?:password|passcode|passphrase|pin(?:\scode)?|passwort|kennwort|wachtwoord|mot\sde\spasse"
    r"|contrase(?:\u00f1|n)a|senha)\s?(?:is|was|ist|war|est|es|[:=]){1,2}\s{0,3})(?=\S{0,60}\d)\S{4,}",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Gap:
    """A question that was not answered."""

    tenant: str
    question: str
    """Masked."""
    category: str
    sources: Sequence[str] = ()
    """The ids of the articles found when it was asked last, best first."""


@dataclass(frozen=True, slots=True)
class KeptGap:
    """A question that was not answered, and when it was asked."""

    gap: Json[Gap]
    days: Mapping[int, int]
    """How often, by the days since 1970."""

    def times(self, days: int) -> int:
        """Return how often it was asked in the last `days` days."""
        return sum(times for day, times in self.days.items() if day > _today() - days)


_gap_json = TypeAdapter(Gap)
_kept_json = TypeAdapter(KeptGap)


class Gaps:
    """The questions that were not answered."""

    def __init__(self, redis: Redis, redactor: Redactor) -> None:
        self._redactor = redactor
        self._count = redis.register_script(_COUNT)
        self._all = redis.register_script(_ALL)
        self._background = Background()
        self.flush = self._background.flush
        """Waits until the questions of all finished runs are stored."""

    def observe(self, report: RunReport) -> None:
        """Count a question that was not answered, in the background; also one whose answer was kept."""
        ending = report.ending
        if isinstance(ending, Done) and not ending.answered:
            question = shown(self._redactor.text(report.question))
            if question != DROPPED:
                sources = list(dict.fromkeys(source.id for source in ending.sources))
                gap = Gap(report.context.tenant, question, ending.category, sources)
                self._background.start(self._store(gap, _today()))

    async def kept(self) -> list[KeptGap]:
        """Return all that are kept, those that were asked last at the end; raises MemoryUnavailable."""
        with memory_errors():
            found = cast("list[bytes]", await self._all(keys=[_INDEX]))
        return [_kept_json.validate_json(each) for each in found]

    async def _store(self, gap: Gap, day: int) -> None:
        name = hashlib.sha256(f"{gap.tenant}\0{normal(gap.question)}".encode()).hexdigest()[:32]
        ttl = KEPT_DAYS * _DAY
        stored = _gap_json.dump_json(gap)
        keys = [f"feedback:gap:{name}", _INDEX, f"{_INDEX}:{uuid.uuid4().hex}"]
        await self._count(keys=keys, args=[stored, ttl, ttl, MOST, day, KEPT_DAYS])


def shown(question: str) -> str:
    """Return the beginning of a masked question, without numbers of orders, customers and the like."""
    masked = _NUMBER.sub(_without_number, _SECRET.sub(r"\g<before>[key]", question))
    return masked.encode()[:LONGEST].decode(errors="ignore")


def _without_number(match: re.Match[str]) -> str:
    of = match["of"] or match["loose"] or ""
    fewest = _SHORTEST if of else _FEWEST
    is_one = match["of"] or match["before"] is not None or sum(map(str.isdigit, match[0])) >= fewest
    return f"{of}[number]" if is_one else match[0]


def normal(question: str) -> str:
    """Return what equal questions have in common."""
    return " ".join(unicodedata.normalize("NFKC", question).casefold().split())


def _today() -> int:
    return int(time.time() // _DAY)
