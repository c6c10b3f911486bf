"""Prompt injections, and the replies of a model that obeys them."""

import base64
import codecs
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import yaml

_LOOKALIKES = str.maketrans("aceopxyi", "\u0430\u0441\u0435\u043e\u0440\u0445\u0443\u0456")
_LEET = str.maketrans("aegiost", "4361057")

FORMS: dict[str, Callable[[str], str]] = {
    "upper": str.upper,
    "lower": str.lower,
    "alternating": lambda text: "".join(str.upper(c) if n % 2 else c.lower() for n, c in enumerate(text)),
    "reversed": lambda text: text[::-1],
    "first-half": lambda text: text[: len(text) // 2],
    "second-half": lambda text: text[len(text) // 2 :],
    "spaced": " ".join,
    "dashed": "-".join,
    "bars": "|".join,
    "lines": "\n".join,
    "zero-width": "\u200b".join,
    "soft-hyphens": "\u00ad".join,
    "words": lambda text: "\n".join(text.split()),
    "one-line": lambda text: " ".join(text.split()),
    "no-spaces": lambda text: "".join(text.split()),
    "underscores": lambda text: text.replace(" ", "_"),
    "numbered": lambda text: "\n".join(f"{n}. {line}" for n, line in enumerate(text.splitlines(), 1)),
    "quoted": lambda text: "\n".join(f"> {line}" for line in text.splitlines()),
    "added": lambda text: "\n".join(f"+{line}" for line in text.splitlines()),
    "leet": lambda text: text.lower().translate(_LEET),
    "homoglyphs": lambda text: text.translate(_LOOKALIKES),
    "fullwidth": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "circled": lambda text: "".join(chr(ord(c) + 0x246F) if "a" <= c <= "z" else c for c in text.lower()),
    "json": lambda text: json.dumps(text)[1:-1],
    "html": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "url": lambda text: quote(text, safe=""),
    "unicode": lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
    "rot13": lambda text: codecs.encode(text, "rot13"),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base32": lambda text: base64.b32encode(text.encode()).decode().rstrip("="),
    "binary": lambda text: " ".join(f"{byte:08b}" for byte in text.encode()),
    "decimal": lambda text: ",".join(str(byte) for byte in text.encode()),
}
"""Transformations that a placeholder may name after its colon."""


class _Leak(str):
    """A text that supports these transformations in a template."""

    __slots__ = ()

    def __format__(self, form: str) -> str:
        return FORMS[form](str(self)) if form in FORMS else super().__format__(form)


@dataclass(frozen=True)
class Injection:
    """One injection attempt."""

    id: str
    kind: str
    text: str
    """The customer's message, or a text hidden in an article."""
    reply: str
    """The template of an obedient model's answer."""

    def obeyed(self, *, system: str, canary: str, history: str) -> str:
        """Return the reply of a model that obeys, given its prompt."""
        return self.reply.format(system=_Leak(system), canary=_Leak(canary), history=_Leak(history))


def injections() -> list[Injection]:
    """Return all attempts in `tests/data/injections.yaml`."""
    path = Path(__file__).parent.parent / "data" / "injections.yaml"
    return [Injection(**entry) for entry in yaml.safe_load(path.read_text(encoding="utf-8"))]
