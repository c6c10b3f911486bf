"""A schemathesis hook: every request gets a fresh Idempotency-Key, since a key stands for one body."""

import uuid
from typing import Any

import schemathesis

_HEADER = "idempotency-key"
_LONGEST = 255


@schemathesis.hook
def before_call(_: Any, case: Any, __: Any) -> None:
    """Replace a valid key; keep an invalid one."""
    for name, value in dict(case.headers or {}).items():
        if name.lower() == _HEADER and 1 <= len(str(value)) <= _LONGEST:
            case.headers[name] = uuid.uuid4().hex
