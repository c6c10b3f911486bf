"""The answer to a message that is a yes or a no: what was done, or why not."""

from typing import cast

from graph.actions.confirming import Actions
from graph.actions.reasons import UNKNOWN
from graph.actions.replies import Outcome, Reply, sentence
from graph.actions.standing import Write, action_key, standing
from graph.errors import ActionExpired, ActionSettled
from graph.state import Action


async def settled(reply: Reply, actions: Actions, owner: str, language: str) -> tuple[str, Action | None] | None:
    """Confirm or decline what stands open in the session; return what the customer is told, and the action.

    None if the reply is about another kind of action. `language` is the conversation's; where that may just be unknown,
    which is English, the reply's counts. Raises MemoryUnavailable and ShuttingDown.
    """
    spoken = reply.language if language == UNKNOWN else language
    now = standing.get()
    if now is None or now.action is None:
        raise AssertionError("nothing stands open")
    if reply.cancels or reply.only:
        found = await actions.find(now.action.decode(), owner)
        if reply.only and not (found and reply.fits(found.kind)):
            return None
        if found and found.status == "proposed" and not reply.is_clear(found.kind):
            return sentence("unclear", spoken, found.summary), found
    decide = actions.confirm if reply.is_yes else actions.decline
    try:
        action = await decide(now.action.decode(), owner, now.session_id, is_said=True)
    except (ActionExpired, ActionSettled):
        action = None
    if action is None or action.status != "begun":  # whose end a later message may ask for
        now.writes[action_key(now.thread)] = Write("", 0)
    if action is None or action.status in ("proposed", "expired"):
        return sentence("gone", spoken), action
    return sentence(cast("Outcome", action.status), spoken, action.summary), action
