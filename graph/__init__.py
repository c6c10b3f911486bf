"""The agent: its graph, models and articles. It does not depend on the HTTP service."""

from importlib.metadata import version

__version__ = version("support-agent")
