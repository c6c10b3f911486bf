"""The answer cache: what Redis keeps, and single-flight for those who ask at the same time."""
