"""What can go wrong, without HTTP.

    SupportAgentError
    ├── StartError               the service can't start as configured
    │   ├── SettingsError        an environment variable is missing, unknown or bad
    │   └── KnowledgeError       the articles can't be read or indexed
    └── RunError                 a run ended without an answer
        ├── ModelError           the model gave no answer
        │   ├── ModelUnavailable it refused, failed or answered rubbish
        │   └── ModelTimeout     it did not answer within its time budget
        ├── KnowledgeUnavailable the articles can't be searched
        └── InternalError        a defect of ours

Every message may be shown to whoever caused it: none holds a secret, a URL of ours or another
exception's text.
"""

import traceback
from typing import ClassVar, cast


class SupportAgentError(Exception):
    """Base of every error that the agent raises on purpose."""


class StartError(SupportAgentError):
    """The service can't start as configured; the message is one line that says what to change."""


class SettingsError(StartError):
    """An environment variable is missing, unknown or bad."""


class KnowledgeError(StartError):
    """The articles can't be read or indexed; the message names the file and, where known, the line."""


class RunError(SupportAgentError):
    """A run ended without an answer."""


class ModelError(RunError):
    """The model gave no answer; `reason`, a status or an exception's type, is for operators."""

    message: ClassVar[str]

    def __init__(self, reason: str) -> None:
        super().__init__(self.message)
        self.reason = reason


class ModelUnavailable(ModelError):
    """The model refused, failed or answered rubbish, after retries and the fallback."""

    message = "The model is not available at the moment; try again shortly."


class ModelTimeout(ModelError):
    """The model did not answer within its time budget."""

    message = "The model took too long to answer; try again shortly."


class KnowledgeUnavailable(RunError):
    """The articles can't be searched; `reason` is for operators."""

    def __init__(self, reason: str) -> None:
        super().__init__("The help articles can't be searched at the moment; try again shortly.")
        self.reason = reason


class InternalError(RunError):
    """A defect of ours ended the run."""

    def __init__(self) -> None:
        super().__init__("Something went wrong on our side.")


def kind_and_place(error: BaseException | None) -> str:
    """Describe a defect for the log: its type and where it was raised, since its text may quote a customer."""
    frames = traceback.extract_tb(error.__traceback__ if error else None)
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
        frames = traceback.extract_tb(error.__traceback__) or frames
    return f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno}"
