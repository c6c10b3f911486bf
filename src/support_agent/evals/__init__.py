"""Judges the agent on cases, and says whether what changed may be deployed."""
