"""The graph's nodes, one per file."""
