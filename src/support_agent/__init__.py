"""A customer-support agent that answers from a company's own help articles."""

from importlib.metadata import version

__version__ = version("support-agent")
