"""The answer to a message that is a yes or a no: what was done, or why not."""

from typing import cast

from graph.actions.confirming import Actions
from graph.actions.reasons import UNKNOWN
from graph.actions.replies import Outcome, Reply, sentence
from graph.actions.standing import Write, action_key, standing
from graph.errors import ActionExpired, ActionSettled
from graph.state import Action


async def settled(reply: Reply, actions: Actions, owner: str, language: str) -> tuple[str, Action | None]:
    """Confirm or decline what stands open in the session; return what the customer is told, and the action.

    `language` is the conversation's; where that may just be unknown, which is English, the reply's counts. Raises
    MemoryUnavailable and ShuttingDown.
    """
    spoken = reply.language if language == UNKNOWN else language
    now = standing.get()
    if now is None or now.open_action is None:
        raise AssertionError("nothing stands open")
    action_id, _ = now.open_action
    if reply.cancels:
        found = await actions.find(action_id, owner)
        if found and found.status == "proposed" and not reply.is_clear(found.kind):
            return sentence("unclear", spoken, found.summary), found
    decide = actions.confirm if reply.is_yes else actions.decline
    try:
        action = await decide(action_id, owner, now.session_id, is_said=True)
    except (ActionExpired, ActionSettled):
        action = None
    if action is None or action.status != "begun":  # whose end a later message may ask for
        now.writes[action_key(now.thread)] = Write("", 0)
    if action is None or action.status in ("proposed", "expired"):
        return sentence("gone", spoken), action
    return sentence(cast("Outcome", action.status), spoken, action.summary), action
