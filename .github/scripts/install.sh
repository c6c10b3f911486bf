#!/usr/bin/env bash
# Installs uv and what the tests need; and of the packages that images have, the very ones, by their hashes. With
# UV_NO_SYNC set, `uv run` leaves it at that.
set -euo pipefail

python3 -m pip install --quiet uv==0.13.9
uv sync --quiet --compile-bytecode --group dev
uv pip install --quiet --python .venv --no-deps --require-hashes --requirements requirements.sources.lock \
    --requirements requirements.servers.lock
