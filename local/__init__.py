"""Services for local development, each a child process: Redis, Postgres, Caddy and the offline model."""

from pathlib import Path

WORDS = Path(__file__).with_name("words.npz")
"""The offline model's word vectors; the container image has none."""
