"""Ship the vectors of all that a start embeds, so that the offline model is ready at once.

PYTHONPATH=tests uv run python -m harness.ship_vectors
"""

import json
import tempfile
from pathlib import Path

from support_agent.graph.knowledge import load_library, meaning
from support_agent.graph.prompts import EXAMPLES
from support_agent.local.model import main

texts = [meaning(article) for article in load_library(Path("knowledge")).articles]
texts += [question for question, _ in EXAMPLES]

with tempfile.NamedTemporaryFile("w", encoding="utf-8", suffix=".jsonl") as file:
    file.write("\n".join(map(json.dumps, texts)))
    file.flush()
    main(["--remember", file.name])
