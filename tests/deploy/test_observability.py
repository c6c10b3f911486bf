"""Monitoring: the rules of Prometheus, the dashboard of Grafana, and the runbook for both."""

import asyncio
import json
import math
import re
import shutil
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis
from starlette.types import Send

from api.auth import digest, new_key
from conftest import REPOSITORY, Serve
from graph.observe import prices
from harness import promql
from harness.planting import plant_in
from harness.prometheus import prometheus, promtool
from harness.scripted_model import Call, ScriptedModel, label, status, tokens
from harness.tool_server import tool_server

RULES = Path("deploy/prometheus/alerts.yml")
CONFIGURATION = Path("deploy/prometheus/prometheus.yml")
RULE_TESTS = Path("tests/deploy/alerts_test.yml")
DASHBOARD = REPOSITORY / "deploy/grafana/dashboard.json"
OPERATIONS = REPOSITORY / "docs/operations.md"
OURS = ("support_agent_", "http_server_")
PROMETHEUS_OWN = {"up"}
ALLOWED = 8
"""Requests a second: more than the customer sends, fewer than the script sends."""

SCRAPED = {"job", "instance"}
"""Labels that Prometheus adds."""


@pytest.fixture
def deploy(tmp_path: Path) -> Path:
    """An operator's folder: the files of `deploy/prometheus`, the rule tests, and a key."""
    for file in (RULES, CONFIGURATION, RULE_TESTS):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / file, tmp_path / file)
    (tmp_path / CONFIGURATION).with_name("operator.key").write_text("a key\n")
    return tmp_path


def alerts() -> list[dict[str, Any]]:
    """Return the alerting rules."""
    return [rule for group in yaml.safe_load((REPOSITORY / RULES).read_text())["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    return json.loads(DASHBOARD.read_text())


def queries() -> list[tuple[str, str]]:
    """Return the panel title and the expression of each query of the dashboard."""
    return [(panel["title"], target["expr"]) for panel in dashboard()["panels"] for target in panel.get("targets", [])]


def expressions() -> list[str]:
    return [expression for _, expression in queries()] + [alert["expr"] for alert in alerts()]


# What promtool says


def test_promtool_accepts_the_rules_and_the_configuration(deploy: Path) -> None:
    """Prometheus' own checker accepts the files with the operator's key in place."""
    for kind, file in (("rules", RULES), ("config", CONFIGURATION)):
        checked = promtool("check", kind, deploy / file)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize(
    ("kind", "file", "right", "wrong"),
    [
        ("rules", RULES, "histogram_quantile(", "histogram_quantil("),
        ("rules", RULES, "for: 2m", "for: soon"),
        ("rules", RULES, "{{ $labels.name }}", "{{ $labels.name }"),
        ("config", CONFIGURATION, "- alerts.yml", "- alert.yml"),
        ("config", CONFIGURATION, "credentials_file", "credential_file"),
        ("config", CONFIGURATION, "operator.key", "nobody.key"),
    ],
)
def test_promtool_refuses_what_is_wrong(deploy: Path, kind: str, file: Path, right: str, wrong: str) -> None:
    """An unknown function, a bad duration or template and a missing file are errors."""
    plant_in(deploy / file, right, wrong)
    assert promtool("check", kind, deploy / file).returncode != 0


def test_alerts_fire_when_they_should_and_not_else(deploy: Path) -> None:
    """Alerts fire for real faults, not for short ones or for a share of a few requests."""
    tried = promtool("test", "rules", deploy / RULE_TESTS)
    assert tried.returncode == 0, tried.stdout + tried.stderr


@pytest.mark.parametrize(("always", "scenarios"), [(True, slice(1)), (False, slice(None))])
def test_each_alert_is_tried_both_ways(deploy: Path, always: bool, scenarios: slice) -> None:
    """The rule tests notice an alert that always fires and one that never fires."""
    rules, tests = (yaml.safe_load((deploy / file).read_text()) for file in (RULES, RULE_TESTS))
    for rule in rules["groups"][0]["rules"]:
        rule["expr"] = "vector(1)" if always else "vector(1) > 1"
    for scenario in tests["tests"]:
        scenario.pop("alert_rule_test", None)
    tests["tests"] = tests["tests"][scenarios]
    (deploy / RULES).write_text(yaml.safe_dump(rules))
    (deploy / RULE_TESTS).write_text(yaml.safe_dump(tests))
    tried = promtool("test", "rules", deploy / RULE_TESTS)
    assert tried.returncode != 0
    noticed = set(re.findall(r'alertname="(\w+)"', tried.stdout + tried.stderr))
    assert noticed == {alert["alert"] for alert in alerts()}


# What operators are told


def test_each_alert_says_what_it_is_and_where_to_read_on() -> None:
    """The alert's section in docs/operations.md says what it means, where to look first, and how to fix it."""
    chapter = OPERATIONS.read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", chapter, re.MULTILINE | re.DOTALL))
    assert [alert["alert"] for alert in alerts()] == list(sections)
    for alert in alerts():
        assert alert["labels"]["severity"] in ("critical", "warning"), alert
        assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}, alert
        assert alert["annotations"]["runbook_url"] == f"docs/operations.md#{alert['alert'].lower()}"
        for part in ("- Meaning: ", "- First look: ", "- Fix: "):
            assert sections[alert["alert"]].count(part) == 1, (alert["alert"], part)


def test_sections_name_panels_that_there_are() -> None:
    """Quoted names after "First look" are titles of panels."""
    titles = {panel["title"] for panel in dashboard()["panels"]}
    named = {
        title
        for look in re.findall(r"^- First look: (.*?)^- Fix: ", OPERATIONS.read_text(), re.MULTILINE | re.DOTALL)
        for title in re.findall(r'"(.+?)"', look.replace("\n  ", " "))
    }
    assert named
    assert named <= titles


def test_the_dashboard_fits_any_grafana() -> None:
    """Data source and instances are variables; panels have unique ids, do not overlap and have descriptions."""
    board = dashboard()
    assert [variable["name"] for variable in board["templating"]["list"]] == ["datasource", "instance"]
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    assert set(re.findall(r'"uid": "(.*)"', DASHBOARD.read_text())) == {board["uid"], "${datasource}"}
    places: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        grid = panel["gridPos"]
        place = {(grid["x"] + x, grid["y"] + y) for x in range(grid["w"]) for y in range(grid["h"])}
        assert not places & place, panel["title"]
        assert grid["x"] + grid["w"] <= 24
        places |= place
        if panel["type"] != "row":
            assert panel["description"], panel["title"]
    assert all('instance=~"$instance"' in expression for _, expression in queries())


# What is live


@dataclass
class Live:
    """The /metrics of a service: sample names by metric, and all labels of each sample."""

    families: dict[str, set[str]]
    labels: dict[str, set[str]]

    def mistakes(self, expression: str) -> list[str]:
        """Return the metrics and labels of an expression that do not exist."""
        names = promql.metrics(expression)
        missing = sorted(names - self.labels.keys() - PROMETHEUS_OWN)
        known = SCRAPED.union(*(self.labels.get(name, set()) for name in names))
        return [*missing, *sorted(promql.labels(expression) - known)]


@dataclass
class Traffic:
    """A service with a customer, and a script that exceeds the rate limit."""

    url: str
    operator: str
    """The operator's key."""
    customer: httpx.AsyncClient
    script: httpx.AsyncClient

    async def live(self) -> Live:
        """Read /metrics of the service."""
        headers = {"Authorization": f"Bearer {self.operator}"}
        answer = await self.customer.get(f"{self.url}/metrics", headers=headers)
        assert answer.status_code == 200
        live = Live({}, {})
        for family in text_string_to_metric_families(answer.text):
            live.families[family.name] = {sample.name for sample in family.samples}
            for sample in family.samples:
                live.labels.setdefault(sample.name, set()).update(sample.labels)
        return live

    async def round(self, number: int) -> None:
        """Cause every outcome: an answer, a cache hit, a fallback, a failure, a stream and a rate limit."""
        expected = {"Yes": 200, "Plan B": 200, "No": 502}
        for question, code in expected.items():
            answer = await self.customer.post("/ask", json={"question": f"{question} {number}?"})
            assert answer.status_code == code, answer.text
        again = await self.customer.post("/ask", json={"question": f"Yes {number}?"})
        assert again.headers["X-Cache"] == "hit"
        async with self.customer.stream("POST", "/chat/stream", json={"message": "Hello?"}) as stream:
            assert (await stream.aread()).count(b"event: done") == 1
        refused = [self.script.post("/ask", json={"question": "Yes?"}) for _ in range(2 * ALLOWED)]
        assert 429 in {answer.status_code for answer in await asyncio.gather(*refused)}


@asynccontextmanager
async def traffic(serve: Serve, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Traffic]:
    """Serve an application whose models fail on request."""

    async def by_question(call: Call, send: Send) -> None:
        question = call.prompt[-1][1]
        if "No" in question:
            await status(400)(call, send)
        elif "Plan B" in question and call.body["model"] == "gpt-4o":
            await status(500)(call, send)
        else:
            await tokens(["Yes", "."])(call, send)

    monkeypatch.setattr(prices, "_rates", lambda *_: (0.001, 0.002))
    model.script("classify", label("billing"), label("technical"), label("What?"), label("general"))
    model.script("answer", by_question)
    keys = {name: new_key() for name in ("customer", "script", "operator")}
    variables = {
        "SUPPORT_API_KEYS": ",".join(f"{name}:{digest(key).hex()}" for name, key in keys.items()),
        "SUPPORT_RATE_LIMIT": f"{ALLOWED}/second",
        "SUPPORT_CACHE_TTL": 600,
        "SUPPORT_FALLBACK_MODEL": "plan-b",
    }
    async with tool_server() as tools, serve(**variables, SUPPORT_MCP_SERVERS=f"calendar={tools.url}") as url:
        async with (
            httpx.AsyncClient(base_url=url, headers={"X-API-Key": keys["customer"]}, timeout=20) as customer,
            httpx.AsyncClient(base_url=url, headers={"X-API-Key": keys["script"]}, timeout=20) as script,
        ):
            yield Traffic(url, keys["operator"], customer, script)


@pytest.mark.parametrize(
    ("expression", "metrics", "labels"),
    [
        ("rate(a_total[5m]) > 1024 * 1e3", {"a_total"}, set[str]()),
        ('sum by (x, y) (a{z=~"b{c}|d", v!="e f"}) / on (w) group_left () b', {"a", "b"}, {"x", "y", "z", "v", "w"}),
        ("up == 0 or absent(up) unless a offset 5m and vector(0)", {"up", "a"}, set[str]()),
        ("histogram_quantile(0.95, sum by (le) (rate(a_bucket[$__rate_interval])))", {"a_bucket"}, {"le"}),
    ],
)
def test_expressions_are_read_as_prometheus_reads_them(expression: str, metrics: set[str], labels: set[str]) -> None:
    """Functions, keywords, numbers and strings are not taken for metrics."""
    assert promql.metrics(expression) == metrics
    assert promql.labels(expression) == labels


async def test_what_is_watched_is_there(
    serve: Serve, redis: Redis, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dashboard and rules use only live metrics and labels, and use every metric of ours."""
    async with traffic(serve, model, monkeypatch) as asked:
        await asked.round(1)
        live = await asked.live()
    assert not {expression: found for expression in expressions() if (found := live.mistakes(expression))}
    used = set[str]().union(*map(promql.metrics, expressions()))
    unwatched = [name for name, samples in live.families.items() if name.startswith(OURS) and not samples & used]
    assert not unwatched
    assert live.mistakes("rate(support_agent_token_total[5m])") == ["support_agent_token_total"]
    assert live.mistakes('sum by (modell) (support_agent_tokens_total{direction="input"})') == ["modell"]
    legends = set(re.findall(r"\{\{(\w+)\}\}", DASHBOARD.read_text()))
    assert legends
    assert legends <= SCRAPED.union(*live.labels.values())


@pytest.mark.soak
async def test_prometheus_finds_what_it_is_asked_for(
    serve: Serve, redis: Redis, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch, deploy: Path
) -> None:
    """After a minute of traffic every dashboard query has data and every alert can be evaluated."""
    async with traffic(serve, model, monkeypatch) as asked:
        (deploy / CONFIGURATION).with_name("operator.key").write_text(f"{asked.operator}\n")
        target = asked.url.removeprefix("http://")
        async with prometheus((deploy / CONFIGURATION).parent, target) as client:
            began = time.time()
            for number in count():
                await asked.round(number)
                await asyncio.sleep(1)
                if time.time() - began > 60:
                    break
            variable = dashboard()["templating"]["list"][1]["query"]["query"]
            [metric] = re.findall(r"label_values\((\w+), instance\)", variable)
            found = await client.get("/api/v1/label/instance/values", params={"match[]": metric})
            assert found.json()["data"] == [target]
            empty = [(title, expr) for title, expr in queries() if not await has_data(client, expr, target, began)]
            assert not empty
            [group] = (await client.get("/api/v1/rules")).json()["data"]["groups"]
            assert len(group["rules"]) == len(alerts())
            assert all(rule["health"] == "ok" for rule in group["rules"]), group
            assert not await has_data(client, 'support_agent_tokens_total{model="nobody"}', target, began)


async def has_data(client: httpx.AsyncClient, expression: str, instance: str, began: float) -> bool:
    """Query as Grafana does, with variables filled in; return whether any step has a number."""
    escaped = re.escape(instance).replace("\\", "\\\\")
    for name, value in {"$instance": escaped, "$__rate_interval": "15s"}.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    answer = await client.get(
        "/api/v1/query_range",
        params={"query": expression, "start": began, "end": time.time(), "step": 5},
    )
    assert answer.status_code == 200, answer.text
    series = answer.json()["data"]["result"]
    return any(math.isfinite(float(value)) for one in series for _, value in one["values"])
