"""The front door: the agent over HTTP."""
