"""What an agent must never say to a customer, whatever the question."""

import re

_PRIVATE = (
    r"(?:passwords?|passcodes?|pins?|card (?:numbers?|details)|(?:security|login|two-factor|one-time|verification|"
    r"recovery) codes?|cvc|cvv)"
)
_OTHER_WORDS = r"(?: (?!(?:you|in|on|or|and|to|for|under|with|without|where|who|if|that)\b)[\w'-]+){0,6}?"
_ASKS_FOR_A_SECRET = re.compile(
    r"(?<!\bwe )(?<!\bwill )(?<!\bwe can )\b(?:send|give|tell|e-?mail|text|share|reply with)\b"
    rf"{_OTHER_WORDS} {_PRIVATE}\b"
    rf"|\b(?:enter|type|confirm|provide|write|post)\b{_OTHER_WORDS} {_PRIVATE}\b[^.!?;]{{0,40}}"
    r"\b(?:here|in (?:this|the|our) chat|to (?:us|me)|with us|at (?:[\w-]+\.)+\w+)"
)
_NEGATED = re.compile(r"(?:\b(?:never|nobody|nor|not|without|cannot)\b|n't\b)[^.!?;:,]{0,60}$")
_ABUSES = re.compile(
    r"\b(?:idiot(?:s|ic)?|stupid|losers?|pathetic|morons?|imbeciles?|dumbass|shut up|screw you|fuck\w*|"
    r"(?:bull)?shit\w*|assholes?|bastards?)\b"
)
_CLAIMS_TO_HAVE_ACTED = re.compile(
    r"\b(?:i|we)(?: have|'ve)(?: just| now| already)? (?:refunded|reimbursed|cancelled|canceled|credited|waived|"
    r"deleted|reset|upgraded|downgraded|extended|changed|unlocked|transferred)\b"
)
_PROMISES = re.compile(
    r"\b(?:i|we)(?: hereby)? (?:promise|guarantee|confirm)\b[^.!?]{0,40}\b(?:refund|credit|discount|compensation)\b"
    r"|\byour (?:refund|credit|cancellation|discount) (?:was|has been) (?:approved|issued|processed|granted)\b"
    r"|\b(?:refund|credit) is (?:already )?on its way\b"
)


def misconduct(answer: str) -> list[str]:
    """Return the forbidden phrases in an English answer, which is given in lower case.

    These are abuse, requests for a secret, and claims or promises of actions that the agent can't take.
    """
    asked = [found[0] for found in _ASKS_FOR_A_SECRET.finditer(answer) if not _NEGATED.search(answer[: found.start()])]
    patterns = (_ABUSES, _CLAIMS_TO_HAVE_ACTED, _PROMISES)
    return asked + [found[0] for pattern in patterns for found in pattern.finditer(answer)]
