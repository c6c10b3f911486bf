"""The redactor for the tests of redaction."""

import pytest

from graph.observe.redaction import Redactor
from harness.redacting import KEPT


@pytest.fixture
def redactor() -> Redactor:
    return Redactor([KEPT])
