"""Evaluates the agent on the cases in `datasets/`, and decides whether a change may be deployed."""
