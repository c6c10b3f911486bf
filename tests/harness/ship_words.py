"""Make the offline model's word vectors from the wheel of wordllama, which has none for ARM Linux or Python 3.14.

pip download --no-deps wordllama==0.4.0.post1 && PYTHONPATH=tests uv run python -m harness.ship_words wordllama-*.whl
"""

import json
import struct
import sys
import zipfile
from pathlib import Path

import numpy as np

from local import WORDS
from local.vectors import DIMENSIONS

_ROWS = "wordllama/weights/l2_supercat_256.safetensors"
_TOKENIZER = "wordllama/tokenizers/l2_supercat_tokenizer_config.json"


def main(wheel: Path, words: Path = WORDS) -> None:
    """Write the pieces of words in the order of their merges, and a row of 8-bit numbers and its scale for each."""
    with zipfile.ZipFile(wheel) as files:
        stored, tokenizer = files.read(_ROWS), json.loads(files.read(_TOKENIZER))
    (header,) = struct.unpack_from("<Q", stored)
    vocabulary: dict[str, int] = tokenizer["model"]["vocab"]
    rows = np.frombuffer(stored, np.float16, offset=8 + header).reshape(len(vocabulary), -1)
    rows = rows[:, :DIMENSIONS].astype(np.float32)  # trained so that the first ones alone are vectors too
    scales = np.abs(rows).max(axis=1) / 127
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    np.savez_compressed(
        words,
        pieces=np.frombuffer("\n".join(pieces[259:]).encode(), np.uint8),
        rows=np.rint(rows / np.maximum(scales, 1e-9)[:, None]).astype(np.int8)[259:],
        scales=scales.astype(np.float32)[259:],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
