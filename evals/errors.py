"""Errors that leave an evaluation without a verdict."""

from graph.errors import SupportAgentError


class CannotMeasure(SupportAgentError):
    """The evaluation has no verdict; the message says why."""


class JudgeUnusable(SupportAgentError):
    """The judge gave no verdict; the message says why."""
