"""Judges the agent on the cases in `datasets/`, and says whether a change may be deployed."""
