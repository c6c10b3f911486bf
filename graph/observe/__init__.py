"""Observability: reports of runs; the traces, spans, metrics and ratings made from them; masking of personal data."""
