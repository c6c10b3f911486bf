"""Thoughts: what a model writes before its answer, and nobody may see.

Servers send them in fields of their own (`reasoning_content`, `reasoning`), which are not read, as parts of the content
whose type is not `text`, or in tags within the text. docs/models.md says which server and which model does what.

Thoughts come first: a tag begins one only before any visible text, or after another thought. Models think again later
only between calls of tools, which the agent does not have. So a tag after the first word of an answer is a part of it.

A tag may also be mentioned in a thought, or end a thought that no tag has begun. What is doubtful is held back while
nothing is shown, and shown if it is text in the end.
"""

import re
from collections.abc import Iterable
from io import StringIO
from typing import Any, cast

_NAMES = ("think", "thinking", "thought", "reasoning", "seed:think")
_THOUGHTS = {
    **{f"<{name}>": f"</{name}>" for name in _NAMES},
    "[think]": "[/think]",
    "◁think▷": "◁/think▷",
    "<|start_thinking|>": "<|end_thinking|>",
    "<|channel>thought": "<channel|>",
    "<|channel|>analysis": "<|end|>",
    "<|channel|>commentary": "<|end|>",
    "here is my thought process:": "here is my response:",
    "here's my thought process:": "here's my response:",
}
"""What begins a thought, and what ends it."""
_ANSWERS = {
    "<|start_response|>": "<|end_response|>",
    "<|start_text|>": "<|end_text|>",
    "<|channel|>final<|message|>": "<|return|>",
    "<|start|>assistant": "",
    "<response>": "</response>",
    "<answer>": "</answer>",
}
"""What may stand before an answer, and what then ends it."""
_AFTER_THOUGHTS = frozenset({"<response>", "<answer>"})  # elsewhere they are text
_BEGINNINGS = {**_THOUGHTS, **_ANSWERS}
_LONE = (*(f"</{name}>" for name in _NAMES), "[/think]", "◁/think▷", "<|end_thinking|>")
"""What ends thoughts that a chat template may have begun."""
_LONE_BEGIN = frozenset(tag[:2] for tag in _LONE)
_MOST_ATTRIBUTES = 200  # characters
_LONGEST_TAG = 250
_WORD_BEFORE = re.compile(r"[\w,;][ \t]+\Z")
_SENTENCE_AFTER = re.compile(r"[ \t]+[a-z0-9]|[ \t]*[.,;:!?)]")
_BEFORE_ANSWER = re.compile(r"[ \t]*\n\s*\S|\w|<\||\n\n")
_QUOTES = frozenset("\"'`“”«»\u2018\u2019")


def _any_of(tags: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern with a group for each tag; those like HTML's may have spaces and attributes."""
    attributes = rf"(?:\s[^<>]{{0,{_MOST_ATTRIBUTES}}})?>"
    patterns = (
        re.escape(tag[:-1]) + attributes if re.fullmatch(r"</?[\w:]+>", tag) else re.escape(tag) for tag in tags
    )
    return re.compile("|".join(f"({pattern})" for pattern in patterns), re.IGNORECASE)


_BEGINNING = _any_of(_BEGINNINGS)
_CUT_TAG = re.compile(rf"<(?:{'|'.join(_NAMES)})\s[^<>]{{0,{_MOST_ATTRIBUTES}}}", re.IGNORECASE)
_WITHIN = {begin: _any_of((end, begin)) for begin, end in _THOUGHTS.items()}
_ENDS, _TAGS = _any_of(_LONE), _any_of((*_LONE, *_THOUGHTS))


class ThoughtFilter:
    """Passes a reply's text on without the thoughts in it; the text may be cut into pieces anywhere.

    With `begins_inside` the reply begins with a thought: some servers send only the tag that ends it. If that tag does
    not come, the reply had no thought.
    """

    def __init__(self, *, begins_inside: bool = False) -> None:
        self.began_inside = False
        """Whether a tag has ended a thought that no tag had begun; known at the end."""
        self.has_shown_thought = False
        """Whether that thought was shown, since the tag came later; known at the end."""
        self.is_unfinished = False
        """Whether the reply ended within a thought; known at the end."""
        self.is_idle = False
        """Whether all that follows is text; who does not feed it then tells `note` of it."""
        self._seen = StringIO()
        self.note = self._seen.write
        """Takes text that was shown, which is judged at the end."""
        self._inside = begins_inside
        self._held = ""  # what may be a thought, or the start of a tag
        self._searched = 0  # characters of it
        self._begin = ""  # the tag that has begun the current thought
        self._depth = 0
        self._doubtful = 0  # the end of the last tag that may have ended it
        self._answer_end = ""
        self._after_thought = False
        self._shown = False

    def feed(self, text: str) -> str:
        """Return the text that is no thought."""
        return self._feed(text, is_last=False)

    def end(self, *, is_whole: bool = True) -> str:
        """Return what is still held back; a thought is not, and of a reply that was cut off nothing that may be one."""
        text = self._feed("", is_last=True)
        rest, self._held = self._held, ""
        if self._begin:
            self.is_unfinished = not (is_whole and self._doubtful)
            rest = rest[self._doubtful :].lstrip()
        elif self._inside:
            self.is_unfinished = not is_whole
        elif self._answer_end and rest.lower().startswith(self._answer_end):
            rest = ""
        if self._shown and not self._after_thought:
            self.began_inside = self.has_shown_thought = _end_of_lone_thought(self._seen.getvalue()) > 0
        return text if self.is_unfinished else text + rest

    def _feed(self, text: str, *, is_last: bool) -> str:
        self._held += text
        while not self._shown:
            goes_on = self._leave_thought(is_last=is_last) if self._begin else self._begin_reply(is_last=is_last)
            if not goes_on:
                return ""
        return self._answer()

    def _begin_reply(self, *, is_last: bool) -> bool:
        """Go on to a thought or to the answer; False if more text must show which."""
        text = self._held.lstrip()
        tag = _BEGINNING.match(text)
        begin = tuple(_BEGINNINGS)[tag.lastindex - 1] if tag and tag.lastindex else ""
        if tag and (self._after_thought or begin not in _AFTER_THOUGHTS):
            self._held, self._inside = text[tag.end() :], False
            if begin in _THOUGHTS:
                self._begin, self._depth, self._searched, self._doubtful = begin, 1, 0, 0
            else:
                self._after_thought = True
                self._answer_end = _ANSWERS[begin]
            return True
        if not is_last and (not text or _may_begin(text)):
            return False
        if self._after_thought:  # the empty line after a thought does not begin the answer
            self._held = text
        elif end := self._end_of_lone_thought(is_last=is_last):
            self._held, self._inside = self._held[end:], False
            self.began_inside = self._after_thought = True
            return True
        elif self._inside:
            return False
        self._shown = bool(text)
        return self._shown

    def _leave_thought(self, *, is_last: bool) -> bool:
        """Go on after the tag that ends the thought; False if there is none yet."""
        text, pattern = self._held, _WITHIN[self._begin]
        while (tag := pattern.search(text, self._searched)) and (is_last or _is_followed(text, tag)):
            self._searched = tag.end()
            is_end = tag.lastindex == 1
            if is_end:
                self._doubtful = tag.end()
            if not _is_mention(text, tag):
                self._depth += -1 if is_end else 1
            if not self._depth:
                self._held, self._begin, self._after_thought = text[tag.end() :], "", True
                return True
        self._searched = max(self._searched, len(text) - _LONGEST_TAG)
        return False

    def _end_of_lone_thought(self, *, is_last: bool) -> int:
        """Return where the answer begins, after a thought that no tag has begun; 0 if there is none."""
        text = self._held
        if not self._inside:
            return _end_of_lone_thought(text)
        while (tag := _ENDS.search(text, self._searched)) and (is_last or _is_followed(text, tag)):
            self._searched = tag.end()
            if not _is_mention(text, tag):
                return tag.end()
        self._searched = max(self._searched, len(text) - _LONGEST_TAG)
        return 0

    def _answer(self) -> str:
        text, self._held = self._held, ""
        if self._answer_end:
            at = _start_of(self._answer_end, text.lower())
            text, self._held = text[:at], text[at:]
        else:
            self.is_idle = True
        self.note(text)
        return text


def text_of(content: object) -> str:
    """Return the text of a message's content: of its parts those that are text."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    parts = [cast("dict[str, Any]", part) for part in cast("list[object]", content) if isinstance(part, dict)]
    return "".join(str(part.get("text") or "") for part in parts if part.get("type") in ("text", "output_text"))


def _may_begin(text: str) -> bool:
    """Whether a text may be the start of a tag."""
    return any(tag.startswith(text.lower()) for tag in _BEGINNINGS) or bool(_CUT_TAG.fullmatch(text))


def _start_of(tag: str, text: str) -> int:
    """Return where a tag, or what may be the start of one at the end of a text, begins; otherwise the text's length."""
    found = text.find(tag)
    at = found if found >= 0 else text.rfind(tag[0])
    return at if found >= 0 or (at >= 0 and tag.startswith(text[at:])) else len(text)


def _is_followed(text: str, tag: re.Match[str]) -> bool:
    """Whether there is enough text after a tag to say what it means."""
    return tag.end() + 2 <= len(text)


def _is_mention(text: str, tag: re.Match[str]) -> bool:
    """Whether a tag stands in code, in quotes or within a sentence."""
    begin, end = tag.span()
    line = text[text.rfind("\n", 0, begin) + 1 : begin]
    if line.count("`") % 2 or text.count("```", 0, begin) % 2:
        return True
    if line[-1:] in _QUOTES and text[end : end + 1] in _QUOTES:
        return True
    return bool(_WORD_BEFORE.search(line) and _SENTENCE_AFTER.match(text, end))


def _end_of_lone_thought(text: str) -> int:
    """Return where the answer begins if the first tag surely ends a thought that no tag has begun; otherwise 0.

    Surely: it stands at the end of a line, or between two words without spaces.
    """
    if not any(begin in text for begin in _LONE_BEGIN):  # most texts, which are not worth a search in each character
        return 0
    for tag in _TAGS.finditer(text):
        if _is_mention(text, tag):
            continue
        before, after = text[: tag.start()], text[tag.end() :]
        is_end = tag.lastindex is not None and tag.lastindex <= len(_LONE)
        is_apart = before.endswith("\n") or not before[-1:].isspace()
        return tag.end() if is_end and is_apart and _BEFORE_ANSWER.match(after) else 0
    return 0
