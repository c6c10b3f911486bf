"""The names in PromQL expressions; Prometheus itself checks the grammar."""

import re

_WORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right"}
_STRINGS = re.compile(r'"(?:[^"\\]|\\.)*"')
_DURATIONS = re.compile(r"\[[^]]*\]")
_SELECTORS = re.compile(r"\{([^}]*)\}")
_GROUPS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_NAMES = re.compile(r"(?<![\w.])([A-Za-z_:][\w:]*)(?!\w)(?!\s*\()")


def metrics(expression: str) -> set[str]:
    """Return the metric names in an expression."""
    bare = _STRINGS.sub("", expression)
    for part in (_DURATIONS, _SELECTORS, _GROUPS):
        bare = part.sub(" ", bare)
    return set(_NAMES.findall(bare)) - _WORDS


def labels(expression: str) -> set[str]:
    """Return the labels that an expression matches or groups by."""
    bare = _STRINGS.sub("", expression)
    return {name for part in (_SELECTORS, _GROUPS) for found in part.findall(bare) for name in _NAMES.findall(found)}
