"""The id of the current request."""

import re
import uuid
from contextvars import ContextVar

HEADER = "X-Request-ID"

request_id: ContextVar[str] = ContextVar("request_id", default="")

_SANE = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def choose_request_id(offered: str | None) -> str:
    """Return the client's own id if it is 1 to 128 safe characters, else a new one."""
    return offered if offered and _SANE.fullmatch(offered) else uuid.uuid4().hex
