"""The agent: its state graph, models and articles. Knows no HTTP."""

from importlib.metadata import version

__version__ = version("support-agent")
