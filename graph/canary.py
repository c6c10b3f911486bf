"""The canary, a random word in the prompt: an answer that contains it repeats the prompt, and is withheld."""

import secrets
import unicodedata

from graph.errors import AnswerWithheld

CANARY = f"zq{secrets.token_hex(8)}"
"""Random in each process, so that it can only be learned from a prompt."""

_MAX_HELD = 2048  # characters; a canary spread over more of them is hidden from every reader


class CanaryFilter:
    """Passes an answer on, and holds back any text that may turn out to be the start of the canary.

    It ignores case and accents, and spaces, punctuation and invisible characters between the canary's letters.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """Return the text that may be shown so far; raises AnswerWithheld."""
        if not self._held and text.isascii() and CANARY[0] not in text.lower():
            return text  # by far the most pieces: no letter that could begin the canary
        self._held += text
        places = [place for place, character in enumerate(self._held) if character.isalnum()]
        plain = "".join(_plain(self._held[place]) for place in places)
        if CANARY in plain:
            raise AnswerWithheld("the answer repeats the prompt")
        begun = max((length for length in range(1, len(CANARY)) if plain.endswith(CANARY[:length])), default=0)
        cut = places[-begun] if begun and len(self._held) < _MAX_HELD else len(self._held)
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def end(self) -> str:
        """Return the text that is still held back."""
        return self._held


def _plain(character: str) -> str:
    """Return the letter or digit that the character looks like."""
    return unicodedata.normalize("NFKD", character).casefold()[:1]
