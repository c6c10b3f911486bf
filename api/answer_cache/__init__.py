"""The answer cache in Redis, and single-flight for identical questions that arrive at the same time."""
