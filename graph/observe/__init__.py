"""What a run did, recorded and made into traces, spans, metrics and ratings; and what is masked in all of them."""
