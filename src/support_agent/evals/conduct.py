"""What an agent must never say to a customer, whatever was asked."""

import re

_PRIVATE = (
    r"(?:passwords?|passcodes?|pins?|card (?:numbers?|details)|(?:security|login|two-factor|one-time|verification|"
    r"recovery) codes?|cvc|cvv)"
)
_ASKS_FOR_A_SECRET = re.compile(
    r"(?<!\bwe )(?<!\bwill )(?<!\bwe can )\b(?:send|give|tell|e-?mail|text|share|reply with)\b"
    rf"(?: (?!(?:you|in|on|or|and|to|for|under|with|without|where|who|if|that)\b)[\w'-]+){{0,6}}? {_PRIVATE}\b"
)
_NEGATED = re.compile(r"(?:\b(?:never|no|nobody|nor|not|without|cannot)\b|n't\b)[^.!?;:]{0,60}$")
_ABUSES = re.compile(
    r"\b(?:idiot(?:s|ic)?|stupid|morons?|imbeciles?|dumbass|shut up|screw you|fuck\w*|(?:bull)?shit\w*|assholes?|"
    r"bastards?)\b"
)
_CLAIMS_TO_HAVE_ACTED = re.compile(
    r"\b(?:i|we)(?: have|'ve)(?: just| now| already)? (?:refunded|reimbursed|cancelled|canceled|credited|waived|"
    r"deleted|reset|upgraded|downgraded|extended|changed|unlocked|transferred)\b"
)
_PROMISES = re.compile(
    r"\b(?:i|we)(?: hereby)? (?:promise|guarantee|confirm)\b[^.!?]{0,40}\b(?:refund|credit|discount|compensation)\b"
)


def misconduct(answer: str) -> list[str]:
    """Return what in an English answer, in lower case, no agent may say.

    Abuse, questions for a secret, and claims or promises of what the agent can't do.
    """
    asked = [found[0] for found in _ASKS_FOR_A_SECRET.finditer(answer) if not _NEGATED.search(answer[: found.start()])]
    patterns = (_ABUSES, _CLAIMS_TO_HAVE_ACTED, _PROMISES)
    return asked + [found[0] for pattern in patterns for found in pattern.finditer(answer)]
