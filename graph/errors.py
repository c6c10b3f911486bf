"""The agent's errors, independent of HTTP.

    SupportAgentError
    ├── StartError               the service can't start with this configuration
    │   ├── SettingsError        an environment variable is missing, unknown or invalid
    │   └── KnowledgeError       the articles can't be read or indexed
    ├── StateRefused             a session's messages can't be changed like this
    └── RunError                 a run ended without an answer
        ├── ModelError           the model gave no answer
        │   ├── ModelUnavailable it failed or sent an invalid response
        │   ├── ModelTimeout     it did not answer within its time budget
        │   ├── ModelRefused     it refused the request, and will refuse it again
        │   ├── QuotaExhausted   its account has no credit left
        │   ├── ContentFiltered  its content filter stopped the question or the answer
        │   └── ContextTooLong   the question and the articles are longer than it can read
        ├── AnswerWithheld       the answer contains text that no customer may see
        ├── KnowledgeUnavailable the articles can't be searched
        ├── MemoryUnavailable    conversations can't be read or stored
        ├── SessionBusy          the session already has a run
        ├── HandoffOver          the hand-over has ended
        ├── IdempotencyMismatch  an idempotency key was reused with another body
        ├── ActionExpired        an action can't be confirmed any more
        ├── ActionSettled        an action was confirmed, declined or replaced before
        ├── Cancelled            its caller cancelled it, or nobody read it
        ├── Interrupted          the replica that executed it is gone
        ├── ShuttingDown         the service is shutting down
        └── InternalError        a bug in the service

Every message may be shown to the caller: none contains a secret, an internal URL or the text of another exception.
"""

import traceback
from typing import ClassVar, cast


class SupportAgentError(Exception):
    """Base class of every error that the agent raises on purpose."""


class StartError(SupportAgentError):
    """The service can't start with this configuration; the message is one line that says what to change."""


class SettingsError(StartError):
    """An environment variable is missing, unknown or invalid."""


class KnowledgeError(StartError):
    """The articles can't be read or indexed; the message names the file and, if known, the line."""


class StateRefused(SupportAgentError):
    """A session's messages can't be changed like this; the message says why."""


class RunError(SupportAgentError):
    """A run ended without an answer; `reason` is for operators, and never contains another exception's text."""

    code: ClassVar[str]
    """The error code, for programs."""
    message: ClassVar[str]

    def __init__(self, reason: str = "") -> None:
        super().__init__(self.message)
        self.reason = reason


class ModelError(RunError):
    """The model gave no answer."""


class ModelUnavailable(ModelError):
    """The model failed or sent an invalid response, after all retries and the fallback."""

    code = "model-unavailable"
    message = "The model is not available at the moment. Please try again shortly."


class ModelTimeout(ModelError):
    """The model did not answer within its time budget."""

    code = "model-timeout"
    message = "The model took too long to answer. Please try again shortly."


class ModelRefused(ModelError):
    """The model's server refused the request, and will refuse it again: a wrong key, address, model or parameter."""

    code = "model-refused"
    message = "The model refuses our requests, so there is no answer until the service is repaired."


class QuotaExhausted(ModelError):
    """The account at the model's provider has no credit left, or has reached its spending limit."""

    code = "model-quota"
    message = "The model's quota is used up, so there is no answer until it is renewed."


class ContentFiltered(ModelError):
    """The content filter of the model's provider stopped the question or the answer."""

    code = "content-filtered"
    message = "Sorry, we can't answer this message as it is written. Please rephrase it, or ask something else."


class ContextTooLong(ModelError):
    """The question and the articles are longer than the model can read, even without the earlier conversation."""

    code = "context-too-long"
    message = "The message and the articles for it are longer than the model can read. Please send a shorter message."


class AnswerWithheld(RunError):
    """The answer contains text that no customer may see."""

    code = "answer-withheld"
    message = "The answer was withheld because it contained internal text. Please rephrase your question."


class KnowledgeUnavailable(RunError):
    """The articles can't be searched."""

    code = "knowledge-unavailable"
    message = "The help articles can't be searched at the moment. Please try again shortly."


class MemoryUnavailable(RunError):
    """Conversations can't be read or stored."""

    code = "memory-unavailable"
    message = "Conversations are not available at the moment. Please try again shortly."


class Cancelled(RunError):
    """The run was cancelled by its caller, or because nobody read it."""

    code = "cancelled"
    message = "The run was cancelled."


class Interrupted(RunError):
    """The replica that executed the run is gone."""

    code = "interrupted"
    message = "The run was interrupted and cannot continue. Please ask again."


class ShuttingDown(RunError):
    """The service is shutting down."""

    code = "shutting-down"
    message = "The service is restarting. Please ask again in a moment."


class InternalError(RunError):
    """A bug in the service ended the run."""

    code = "internal"
    message = "Something went wrong on our side."


class SessionBusy(RunError):
    """The session already has a run."""

    code = "session-busy"
    message = "The previous message is still being answered. Please wait for the answer, or cancel it."


class HandoffOver(RunError):
    """The hand-over has been released or has timed out."""

    code = "handoff-over"
    message = "The hand-over has ended, so the agent answers the customer again."


class IdempotencyMismatch(RunError):
    """An idempotency key was reused with another body."""

    code = "idempotency-mismatch"
    message = "This Idempotency-Key was already used with another body. Please use a new key for a new message."


class ActionExpired(RunError):
    """An action can't be confirmed any more."""

    code = "action-expired"
    message = "The time to confirm this has passed, and nothing was done. Please ask for it again."


class ActionSettled(RunError):
    """An action was confirmed, declined or replaced before."""

    code = "action-settled"
    message = "This was confirmed or declined before, or a later proposal has taken its place."


RUN_ERRORS: dict[str, type[RunError]] = {
    kind.code: kind
    for kind in (
        ModelUnavailable,
        ModelTimeout,
        ModelRefused,
        QuotaExhausted,
        ContentFiltered,
        ContextTooLong,
        AnswerWithheld,
        KnowledgeUnavailable,
        MemoryUnavailable,
        Cancelled,
        Interrupted,
        ShuttingDown,
        InternalError,
        SessionBusy,
        HandoffOver,
        IdempotencyMismatch,
        ActionExpired,
        ActionSettled,
    )
}
"""Every error that can end a run, by its code."""


LASTING = (ModelRefused, QuotaExhausted)
"""Errors of a model that last until somebody repairs or pays something."""


def kind_and_place(error: BaseException | None) -> str:
    """Describe a bug for the log by its type and where it was raised, since its text may quote a customer."""
    frames = traceback.extract_tb(error.__traceback__ if error else None)
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
        frames = traceback.extract_tb(error.__traceback__) or frames
    return f"{type(error).__name__} at {frames[-1].filename}:{frames[-1].lineno}"
