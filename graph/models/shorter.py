"""Shorter prompts, for a model that can't read the whole conversation."""

from collections.abc import Generator, Sequence

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

_AGAIN = 3  # times that a question is asked again


def shortened(prompt: Sequence[BaseMessage]) -> Generator[Sequence[BaseMessage]]:
    """Yield the prompt, and after it shorter ones: each without the older half of its turns.

    The last one has the question alone, so that no conversation is too long for ever.
    """
    yield prompt
    head = [message for message in prompt if isinstance(message, SystemMessage)]
    rest = [message for message in prompt if not isinstance(message, SystemMessage)]
    for left in reversed(range(_AGAIN)):
        begins = [at for at, message in enumerate(rest) if isinstance(message, HumanMessage)]
        if len(begins) < 2:
            return
        rest = rest[begins[len(begins) // 2 if left else -1] :]
        yield [*head, *rest]
