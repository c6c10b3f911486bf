"""What schemathesis can't know: an Idempotency-Key stands for one body, so each request has a fresh one."""

import uuid
from typing import Any

import schemathesis

_HEADER = "idempotency-key"
_LONGEST = 255


@schemathesis.hook
def before_call(_: Any, case: Any, __: Any) -> None:
    """Renew a valid key; an invalid one stays."""
    for name, value in dict(case.headers or {}).items():
        if name.lower() == _HEADER and 1 <= len(str(value)) <= _LONGEST:
            case.headers[name] = uuid.uuid4().hex
