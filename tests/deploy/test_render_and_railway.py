"""The files for Render and Railway, checked by the schemas that both publish."""

import json
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from harness.planting import plant
from harness.targets import DEPLOY, render

SCHEMAS = Path(__file__).with_name("schemas")


def schema_says(schema: str, text: str) -> list[str]:
    """Return the schema errors of a YAML or JSON document."""
    expected = json.loads((SCHEMAS / schema).read_text())
    return [error.message for error in Draft202012Validator(expected).iter_errors(yaml.safe_load(text))]


@pytest.mark.parametrize(("schema", "file"), [("render.json", "render.yaml"), ("railway.json", "railway.json")])
def test_the_schema_accepts(schema: str, file: str) -> None:
    """The platform documents every field of the file."""
    assert schema_says(schema, (DEPLOY / file).read_text()) == []


@pytest.mark.parametrize(
    ("schema", "file", "right", "wrong"),
    [
        ("render.json", "render.yaml", "healthCheckPath", "healthcheckPath"),
        ("render.json", "render.yaml", "maxShutdownDelaySeconds: 30", "maxShutdownDelaySeconds: 301"),
        ("render.json", "render.yaml", "noeviction", "none"),
        ("render.json", "render.yaml", "property: connectionString\n\n", "property: password\n\n"),
        ("railway.json", "railway.json", '"healthcheckPath"', '"healthCheckPath"'),
        ("railway.json", "railway.json", '"drainingSeconds": 30', '"drainingSeconds": "30"'),
    ],
)
def test_the_schema_refuses(schema: str, file: str, right: str, wrong: str) -> None:
    """An unknown field, a value out of range or of the wrong type, and a property that does not exist are errors."""
    assert schema_says(schema, plant((DEPLOY / file).read_text(), right, wrong))


def test_render_keeps_conversations() -> None:
    """Key Value persists on a paid plan alone, and must not evict."""
    redis = render("support-agent-redis")
    assert redis["type"] == "keyvalue"
    assert redis["plan"] != "free"
    assert redis["maxmemoryPolicy"] == "noeviction"
