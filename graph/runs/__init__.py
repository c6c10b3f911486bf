"""Runs, each one execution of the graph, and the sessions that they belong to."""
