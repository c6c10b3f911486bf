"""The service on Cloud Run: valid by Google's description of its API, with a warm instance."""

import json
import re
from functools import cache
from importlib.resources import files
from typing import cast

import pytest
import yaml
from jsonschema import Draft202012Validator

from harness.planting import plant
from harness.targets import Json, cloud_run, filled_in


@cache
def cloud_run_schema() -> Draft202012Validator:
    """Return the schema of a service from Google's API description, with no other fields allowed."""
    file = files("googleapiclient") / "discovery_cache/documents/run.v1.json"
    text = re.sub(r'"\$ref": "(\w+)"', r'"$ref": "#/$defs/\1"', file.read_text())
    schemas = json.loads(text)["schemas"]
    for one_of_them in schemas.values():
        if "properties" in one_of_them:
            one_of_them["additionalProperties"] = False
    return Draft202012Validator({"$ref": "#/$defs/Service", "$defs": schemas})


def google_says(service: Json) -> list[str]:
    schema = cloud_run_schema()
    documented = cast("Json", schema.schema)["$defs"]["ObjectMeta"]["properties"]["annotations"]["description"]
    metadata = {"Service": service["metadata"], "Revision": service["spec"]["template"].get("metadata", {})}
    return [error.message for error in schema.iter_errors(service)] + [
        name
        for kind, data in metadata.items()
        for name in data.get("annotations", {})
        if not re.search(rf"`{re.escape(name)}`: [^*]*\b{kind}\b", documented)
    ]


def test_google_accepts_the_service() -> None:
    """The API description has every field, and documents every annotation where it is used."""
    assert google_says(cloud_run()) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("timeoutSeconds: 3600", "timeoutSecond: 3600"),
        ("containerConcurrency: 100", "containerConcurrency: many"),
        ("startupProbe:", "startProbe:"),
        ("run.googleapis.com/cpu-throttling", "run.googleapis.com/cpu-throttle"),
        ("run.googleapis.com/ingress", "run.googleapis.com/vpc-access-egress"),
    ],
)
def test_google_refuses_what_is_wrong(right: str, wrong: str) -> None:
    """An unknown field, a value of the wrong type and an unknown or misplaced annotation are errors."""
    assert google_says(yaml.safe_load(plant(filled_in("cloudrun/service.yaml"), right, wrong)))


def test_cloud_run_keeps_the_cpu_and_an_instance() -> None:
    """CPU stays allocated after a client disconnects, and one warm instance avoids cold starts."""
    annotations = cloud_run()["spec"]["template"]["metadata"]["annotations"]
    assert annotations["run.googleapis.com/cpu-throttling"] == "false"
    assert int(annotations["autoscaling.knative.dev/minScale"]) >= 1
