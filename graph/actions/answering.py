"""The answer to a message that is a yes or a no: what was done, or why not."""

from typing import cast

from graph.actions.confirming import Actions
from graph.actions.replies import Outcome, Reply, sentence
from graph.actions.standing import standing
from graph.errors import ActionExpired, ActionSettled
from graph.state import Action


async def settled(reply: Reply, actions: Actions, owner: str) -> tuple[str, Action | None]:
    """Confirm or decline what stands open in the session; return what the customer is told, and the action.

    Raises MemoryUnavailable and ShuttingDown.
    """
    now = standing.get()
    action_id = now.action.decode() if now and now.action else ""
    try:
        action = await (actions.confirm if reply.is_yes else actions.decline)(action_id, owner)
    except (ActionExpired, ActionSettled):
        action = None
    if action is None or action.status in ("proposed", "expired"):
        return sentence("gone", reply.language), action
    return sentence(cast("Outcome", action.status), reply.language, action.summary), action
