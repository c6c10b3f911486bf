"""Requests that the offline model accepts, and what it answers."""

from typing import Any

ARTICLE = (
    '<passage id="opening-hours" title="Support opening hours">\n'
    "Support is open Monday to Friday, 9:00 to 17:00. Support is closed on Saturdays.\n</passage>"
)
PROMPT: list[Any] = [{"role": "system", "content": ARTICLE}, {"role": "user", "content": "When are you open?"}]
ANSWER = "Support is open Monday to Friday, 9:00 to 17:00. Support is closed on Saturdays."


CHAT = {"model": "m", "messages": PROMPT}
EMBED = {"model": "m", "input": "a"}
