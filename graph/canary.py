"""A word of the prompt that no answer may hold: an answer that does repeats the prompt, and is withheld."""

import secrets
import unicodedata

from graph.errors import AnswerWithheld

CANARY = f"zq{secrets.token_hex(8)}"
"""Differs from process to process, so that nobody can know it but from a prompt."""

_MOST_HELD = 2048  # characters; whoever hides a canary between more of them hides it from everybody


class Watch:
    """Lets an answer through, but for what may be the beginning of the canary until it is known not to be.

    Case, accents, and spaces, signs and invisible characters between its letters make no difference.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """Return what may be shown by now; raises AnswerWithheld."""
        self._held += text
        places = [place for place, character in enumerate(self._held) if character.isalnum()]
        plain = "".join(_plain(self._held[place]) for place in places)
        if CANARY in plain:
            raise AnswerWithheld("it repeats the prompt")
        begun = max((length for length in range(1, len(CANARY)) if plain.endswith(CANARY[:length])), default=0)
        cut = places[-begun] if begun and len(self._held) < _MOST_HELD else len(self._held)
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def end(self) -> str:
        """Return the rest."""
        return self._held


def _plain(character: str) -> str:
    """Return the one letter or digit that it looks like."""
    return unicodedata.normalize("NFKD", character).casefold()[:1]
