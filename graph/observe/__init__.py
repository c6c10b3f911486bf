"""Observability: reports of runs; the traces, spans, metrics and ratings made from them; masking of personal data."""

KEPT_DAYS = 90
"""Days after which a rating is deleted, and a question that was not answered."""
