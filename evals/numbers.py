"""Numbers as people write them."""

import re

_TO_TWENTY = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|"
    "eighteen|nineteen|twenty"
)
_TENS = "thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred"
_WORDS = {
    **{word: str(number) for number, word in enumerate(_TO_TWENTY.split("|"), 1)},
    **{word: str(10 * number) for number, word in enumerate(_TENS.split("|"), 3)},
}
_UNIT = (
    "second|minute|hour|day|night|week|month|quarter|year|euro|dollar|pound|percent|per cent|seat|user|member|guest|"
    "attempt|gigabyte|megabyte|gb|mb|kilogram|kg"
)
_IN_WORDS = re.compile(
    rf"\b({_TO_TWENTY}|{_TENS})(?=[ -](?:(?:business|working|calendar|full|more|failed|further)[ -])?(?:{_UNIT}))",
    re.IGNORECASE,
)


def in_words(text: str) -> set[str]:
    """Return, in digits, the numbers that are spelled out before a unit."""
    return {_WORDS[word.casefold()] for word in _IN_WORDS.findall(text)}


def in_24_hours(hour: str, minute: str | None, half: str) -> str:
    """Return an hour before or after noon, `a` or `p`, in the form 16:00."""
    return f"{int(hour) % 12 + (12 if half in 'pP' else 0)}:{minute or '00'}"


def readings(number: str) -> set[str]:
    """Return all readings of a number: the sign in 1.000 or 1,000 may separate thousands or decimals."""
    *whole, last = (part for part in re.split(r"[.,:\u202f\u00a0]", number))
    if ":" in number:
        hour = ":".join((*(str(int(part)) for part in whole), last))
        return {hour, hour.removesuffix(":00")}
    decimal = last.rstrip("0") if whole else last
    found = {"".join(whole) + f".{decimal}" if whole and decimal else "".join(whole) or last}
    if whole and all(len(part) == 3 for part in (*whole[1:], last)):
        found.add("".join((*whole, last)))
    return found
