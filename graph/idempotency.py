"""Idempotency keys: what a client sends again with the same key is done once."""

import hashlib
import json


def claim_key(*whose: str) -> str:
    """Return the Redis key of what was done with an idempotency key: of whom, and which."""
    return f"idempotency:{digest(*whose)}"


def digest(*parts: str | None) -> str:
    """Return a hash that stands for a request, or for an idempotency key."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
