"""What keeps an evaluation from measuring anything."""

from graph.errors import SupportAgentError


class CannotMeasure(SupportAgentError):
    """There is no verdict, and why."""


class JudgeUnusable(SupportAgentError):
    """The judge gave no verdict, and why."""
