"""What a laptop lacks: a real Redis and an offline model, started as child processes."""
