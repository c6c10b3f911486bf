"""Masks e-mail addresses, cards, IBANs, phone numbers and keys in all text that goes to logs and traces.

The patterns search a plain copy of the text: each character is replaced by the ASCII character that it looks like, and
invisible characters are removed. The time is linear in the text's length: no pattern scans a stretch of text twice, and
only the first few hundred numbers are validated; further ones are masked without validation.
"""

import itertools
import logging
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from typing import Any, cast

import phonenumbers
from stdnum import iban, luhn
from structlog.contextvars import get_contextvars

DROPPED = "[dropped]"
"""Replaces a text that could not be masked."""

MASKS = ("[key]", "[email]", "[iban]", "[card]", "[phone]")
"""What texts are masked with."""

_PASSES = 4  # two are usually enough: next to a mask, text may look like an address that did not before
_LONGEST = 262_144  # characters, four times the longest message; longer texts are dropped
_CHECKS = 500  # candidates of each kind that are validated per text
_SHORT = 4000  # characters; longer texts rarely repeat, so they are not cached
_CACHED = 1000  # short texts, such as the articles and a prompt's examples
_DEEPEST = 32  # levels of a nested value that are walked
_MOST = 10_000  # parts of a value that are walked, and characters whose plain form is cached
_REGIONS = ("NL", "BE", "FR", "GB", "DE", None)  # of national phone numbers; together they accept most European ones

# The start of a word, also after an escape sequence in a repr or a URL.
_EDGE = r"(?:(?<![^\W_])|(?<=\\[nrt])|(?<=%[0-9A-F]{2}))"
_KEY = re.compile(  # if a group matches, only the group is masked
    rf"{_EDGE}(?:sk-[\w-]{{8,}}|sk_(?:live|test)_\w{{8,}}|sa_[\w-]{{43,}}|gh[opsur]_\w{{20,}}|github_pat_\w{{20,}}"
    r"|xox[a-z]-[\w-]{10,}|xapp-[\w-]{10,}|lsv2_\w{20,}|AIza[\w-]{35,}|glpat-[\w-]{20,}|hf_\w{30,}|npm_\w{36,}"
    r"|(?-i:(?:AKIA|ASIA)[0-9A-Z]{16}|eyJ[\w-]{10,}(?:\.{1,2}[\w-]+)*))"
    r"|hooks\.slack\.com/services/([\w/]+)"
    r"|secret_?(?:access_?)?key\W{1,5}([\w/+]{40})"
    r"|api[_-]?key\W{1,5}([\w-]{16,})"
    r"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----([^-]+)"
    r"|bearer\s{1,3}(?=\S*\d|\S{20})([\w.~+/=-]{8,})"
    r"""|password=('[^']*'|"[^"]*"|["']?[^\s&;"']+)"""
    # The password in a URL may contain @, : and /; what looks like a port is not a password.
    r"""|://(?:[^\s/:[\]"<>]+:(?!\d{1,5}[/?#])|:)((?:(?!://)[^\s"<>])+)@""",
    re.IGNORECASE,
)
_KEY_WORD = re.compile(  # a quick check: without one of these, _KEY can't match
    r"sk[-_]|sa_|gh[opsur]_|github_pat_|xox|xapp|lsv2_|aiza|glpat|hf_|npm_|akia|asia|eyj|hooks\.|key|bearer|password|://",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_FEWEST = 8  # digits; no pattern for numbers below matches fewer
_LOCAL = r'[^\s@()<>[\]:;,"\\]'
_EMAIL = re.compile(
    rf'(?P<local>"(?:[^"\\\n]|\\.){{0,64}}"|(?<!{_LOCAL}){_LOCAL}+)(?:@|%40)'
    r"(?:(?:[\w-]+\.)+(?:xn--[\w-]+|[^\W\d_]{2,})|\[[0-9a-f.:]+\])",
    re.IGNORECASE,
)
_BEFORE_EMAIL = re.compile(r"(?:.*[/?&])?(?:\w+=)?['`*{|]*(?=.)")  # addresses may contain it, but rarely start with it
_IBAN = re.compile(r"[A-Za-z]{2}\d{2}(?:[ .-]?[A-Za-z0-9]){11,30}(?![A-Za-z0-9])")
_CARD = re.compile(rf"(?:(?<!\d)|{_EDGE})(?<!\d[.,])[1-9](?:[ -]{{0,3}}\d){{12,18}}(?!\d)", re.IGNORECASE)
_GROUPED_CARD = re.compile(r"(?<!\d)[2-9]\d{3}([./_\n])\d{4}\1\d{4}\1\d{1,7}(?!\d)")
_CARD_DIGITS = re.compile(r"(?:2[1-9]|[3-9]\d)\d{11,17}|1\d{14}")  # others that start with 1 or 20 are timestamps
_ALONE = rf"{_EDGE}(?<!\d[.,:/-])"
_PHONE = re.compile(
    rf"(?:\(?(?:\+|%2B)[ (]{{0,2}}|{_ALONE}\(?0(?:0 ?)?)[1-9](?:[ ()./-]{{0,3}}\d){{7,14}}(?!\d)", re.IGNORECASE
)
_AMERICAN = re.compile(rf"{_ALONE}(?:1[ .-])?\(?[2-9]\d\d(?:[ .-]|\) ?)\d{{3}}[ .-]\d{{4}}(?![.-]?\d)", re.IGNORECASE)
_GROUP_END = re.compile(r"[A-Za-z0-9](?![A-Za-z0-9])|\d(?!\d)")
_ID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|(?=\d*[a-f])[0-9a-f]{32}")
_READABLE = re.compile(  # dates, UUIDs and hashes, which are not masked
    r"(?<!\d)(?<!\d[./-])(?:(?:19|20)\d\d([./-])\d\d\1\d\d|\d\d?([./-])\d\d?\2(?:19|20)\d\d)(?![./-]?\d)"
    r"|\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b|\b(?=\d*[a-f])[0-9a-f]{32,}\b",
    re.IGNORECASE,
)


class Redactor:
    """Masks texts and JSON-like values, except for the addresses in `keep`, with these of the masks."""

    def __init__(self, keep: Iterable[str] = (), *, masks: Collection[str] = MASKS) -> None:
        self._rules = [rule for rule in _RULES if rule[0] in masks]
        self._keep = frozenset(address.translate(_PLAIN).casefold() for address in keep)
        self._cached_mask = lru_cache(_CACHED)(self._mask)

    def text(self, text: str) -> str:
        """Return the text masked with `[email]`, `[card]`, `[iban]`, `[phone]` and `[key]`; DROPPED if that fails."""
        is_short = isinstance(text, str) and len(text) <= _SHORT  # pyright: ignore[reportUnnecessaryIsInstance] - log records hold any type
        if is_short and _ID.fullmatch(text):  # the ids of runs and requests: nothing to mask, and they never repeat
            return text
        return self._cached_mask(text) if is_short else self._mask(text)

    def _mask(self, text: str) -> str:
        with suppress(Exception):
            for _ in range(_PASSES if len(text) <= _LONGEST else 0):
                masked = self._pass(text)
                if masked == text:
                    return masked
                text = masked
        return DROPPED

    def value(self, value: Any) -> Any:  # noqa: ANN401 - JSON has any type
        """Return the value with its strings, keys and numbers masked; other objects become their type's name."""
        with suppress(Exception):
            return self._walk(value, _DEEPEST, [_MOST])
        return DROPPED

    def _walk(self, value: object, depth: int, left: list[int]) -> object:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict | list | tuple):
            left[0] -= len(cast("Collection[object]", value))
            if depth == 0 or left[0] < 0:
                return DROPPED
            return self._walk_parts(cast("_Container", value), depth - 1, left)
        if isinstance(value, int | float | None):
            return value if (masked := self.text(repr(value))) == repr(value) else masked
        return type(value).__name__

    def _walk_parts(self, value: "_Container", depth: int, left: list[int]) -> object:
        walk = self._walk
        if isinstance(value, dict):
            return {walk(key, depth, left): walk(part, depth, left) for key, part in value.items()}
        walked = [walk(part, depth, left) for part in value]
        return walked if isinstance(value, list) else tuple(walked)

    def _pass(self, text: str) -> str:
        for mask, may_be, find in self._rules:
            plain = text if text.isascii() else text.translate(_PLAIN)
            if not may_be(plain):
                continue
            places = range(len(text))
            if len(plain) != len(text):
                places = [place for place, char in enumerate(text) if _PLAIN[ord(char)]]
            parts: list[str] = []
            last = 0
            for start, end in find(plain):
                if plain[start:end].casefold().replace("%40", "@") not in self._keep:
                    parts += text[last : places[start]], mask
                    last = places[end - 1] + 1
            text = "".join((*parts, text[last:]))
        return text


class RedactingFilter(logging.Filter):
    """Masks all text of a log record; add it to handlers, since a logger's filters don't see its children's records."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask the message, traceback and stack in place, add structlog's context variables, and accept the record."""
        message = trace = DROPPED
        with suppress(Exception):
            trace = record.exc_text or (logging.Formatter().formatException(record.exc_info) if record.exc_info else "")
            message = record.getMessage()
        if isinstance(record.msg, dict):  # structlog's event, which its own formatter renders
            masked = self._redactor.value(record.msg)
            record.msg = masked if isinstance(masked, dict) else {"event": DROPPED}
        else:
            record.msg = self._redactor.text(message)
        record.args = ()
        record.exc_info, record.exc_text = None, self._redactor.text(trace)
        about = {name: self._redactor.text(str(value)) for name, value in get_contextvars().items()}
        record.__dict__.update(about | ({"exception": record.exc_text} if trace else {}))
        record.stack_info = record.stack_info and self._redactor.text(record.stack_info)
        record.__dict__.pop("color_message", None)  # uvicorn's second copy of the message
        return True


class _Plain(dict[int, str | None]):
    """Maps each character to the ASCII character that it looks like, for str.translate; None removes invisible ones."""

    def __missing__(self, code: int) -> str | None:
        char = chr(code)
        form = unicodedata.normalize("NFKC", char)
        alike = {"Pd": "-", "Cf": None, "Mn": None, "Me": None, "Nd": str(unicodedata.decimal(char, ""))}
        plain = alike.get(unicodedata.category(char), form if len(form) == 1 else char)
        if len(self) < _MOST:
            self[code] = plain
        return plain


_PLAIN = _Plain({ord("\N{MINUS SIGN}"): "-", ord("\N{IDEOGRAPHIC FULL STOP}"): "."})

_Spans = Iterator[tuple[int, int]]
_Container = dict[object, object] | list[object] | tuple[object, ...]


def _matches(pattern: re.Pattern[str], text: str) -> _Spans:
    return (match.span(match.lastindex or 0) for match in pattern.finditer(text))


def _emails(text: str) -> _Spans:
    for match in _EMAIL.finditer(text):
        before = _BEFORE_EMAIL.match(match["local"])
        yield match.start() + (before.end() if before else 0), match.end()


def _numbers(pattern: re.Pattern[str], checks: Iterable[Callable[[str], bool]], text: str) -> _Spans:
    """Find the longest valid number at each possible start; a number ends at the end of a group of digits."""
    text = _READABLE.sub(lambda match: "~" * len(match[0]), text)
    checked = itertools.count()
    at = 0
    while match := pattern.search(text, at):
        start = match.start()
        ends = [end.end() for end in _GROUP_END.finditer(text, start, match.end())]
        tries = ((check, end) for check in checks for end in reversed(ends))
        found = next((end for check, end in tries if next(checked) >= _CHECKS or check(text[start:end])), None)
        if found:
            yield start, found
        at = found or start + 1


def _is_iban(number: str) -> bool:
    return iban.is_valid(number, check_country=False)  # without the country-specific checks


def _is_card(number: str) -> bool:
    digits = re.sub(r"\D", "", number)
    return _CARD_DIGITS.fullmatch(digits) is not None and luhn.is_valid(digits)


def _is_phone(number: str, region: str | None) -> bool:
    if sum(map(str.isdigit, number)) < 9:
        return False
    try:
        parsed = phonenumbers.parse(number.upper().replace("%2B", "+"), region)
    except phonenumbers.NumberParseException:
        return False
    # A number with a + needs no region, and counts as one even if it is not in use.
    return phonenumbers.is_valid_number(parsed) or (region is None and phonenumbers.is_possible_number(parsed))


def _may_be_email(text: str) -> bool:
    return "@" in text or "%40" in text


def _may_be_number(text: str) -> bool:
    return next(itertools.islice(_DIGIT.finditer(text), _FEWEST - 1, None), None) is not None


_RULES: tuple[tuple[str, Callable[[str], object], Callable[[str], _Spans]], ...] = (
    ("[key]", _KEY_WORD.search, partial(_matches, _KEY)),
    ("[email]", _may_be_email, _emails),
    ("[iban]", _may_be_number, partial(_numbers, _IBAN, (_is_iban,))),
    ("[card]", _may_be_number, partial(_numbers, _CARD, (_is_card,))),
    ("[card]", _may_be_number, partial(_numbers, _GROUPED_CARD, (_is_card,))),
    (
        "[phone]",
        _may_be_number,
        partial(_numbers, _PHONE, tuple(partial(_is_phone, region=region) for region in _REGIONS)),
    ),
    ("[phone]", _may_be_number, partial(_matches, _AMERICAN)),
)
