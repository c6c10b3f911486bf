"""docs/langgraph-api.md, by the SDK's own source and the application's routes."""

import ast
import inspect
import re
from collections.abc import Iterator

import pytest
from langgraph_sdk import client as sdk
from starlette.routing import Route

from api.langgraph.routers import ROUTERS
from api.langgraph.unserved import UNSERVED
from conftest import REPOSITORY

PAGE = (REPOSITORY / "docs/langgraph-api.md").read_text("utf-8")
METHODS = {"get": "GET", "post": "POST", "put": "PUT", "patch": "PATCH", "delete": "DELETE"}
CLIENTS = {
    "Assistants": sdk.AssistantsClient,
    "Threads": sdk.ThreadsClient,
    "Runs": sdk.RunsClient,
    "Crons": sdk.CronClient,
    "Store": sdk.StoreClient,
}


def documented() -> dict[str, str]:
    """Return what the table says of each route."""
    section = PAGE.partition("## Routes")[2].partition("## Parameters")[0]
    rows = re.findall(r"^\| (`[^|]*) \| (\w+) \|", section, re.MULTILINE)
    return {route: status for routes, status in rows for route in re.findall(r"`([^`]+)`", routes)}


def shape(route: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", route)


def paths(node: ast.expr) -> Iterator[str]:
    """Yield the paths that an expression of the SDK's source stands for."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=values):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in values)
        case ast.IfExp(body=body, orelse=other):
            yield from paths(body)
            yield from paths(other)
        case _:
            raise AssertionError(ast.dump(node))


def routes_of(kind: type) -> Iterator[str]:
    """Yield the routes that a client of the SDK calls."""
    for function in ast.walk(ast.parse(inspect.getsource(kind))):
        if not isinstance(function, ast.AsyncFunctionDef | ast.FunctionDef):
            continue
        names = {
            target.id: node.value
            for node in ast.walk(function)
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for call in ast.walk(function):
            if not (isinstance(call, ast.Call) and ast.unparse(call.func).startswith("self.http.")):
                continue
            place = call.args[0]
            place = names[place.id] if isinstance(place, ast.Name) else place
            name = ast.unparse(call.func).removeprefix("self.http.")
            method = METHODS.get(name) or ast.literal_eval(call.args[1])
            yield from (f"{method} {path}" for path in paths(place))


@pytest.mark.parametrize("name", CLIENTS)
def test_every_route_of_the_sdk_is_in_the_table(name: str) -> None:
    """Those that it calls, read from its source."""
    found = set(routes_of(CLIENTS[name]))
    assert len(found) > 4
    assert found <= {shape(route) for route in documented()}


def test_the_table_says_what_is_served() -> None:
    """A route that is served or refused has its row, and a row its route."""
    found = [route for router in ROUTERS for route in router.routes if isinstance(route, Route)]
    ours = {(method, route.path) for route in found for method in route.methods or () if method != "HEAD"}
    unserved = {(method, f"/langgraph{path}") for path, methods in UNSERVED.items() for method in methods}
    served = {tuple(route.split(" /", 1)) for route, status in documented().items() if status in ("served", "differs")}
    refused = {tuple(route.split(" /", 1)) for route, status in documented().items() if status == "501"}
    assert {(method, f"/langgraph/{path}") for method, path in served} == ours - unserved
    assert {(method, f"/langgraph/{path}") for method, path in refused} <= unserved
    known = {shape(f"{method} /langgraph/{path}") for method, path in served | refused}
    hidden = {f"{method} {path}" for method, path in unserved if shape(f"{method} {path}") not in known}
    assert all(".well-known" in route or route.endswith("/mcp/") or "stream/events" in route for route in hidden)


@pytest.mark.parametrize("name", ["Assistants", "Threads", "Runs"])
def test_every_parameter_of_the_sdk_is_in_the_tables(name: str) -> None:
    """Of each method whose route is served."""
    section = PAGE.partition(f"### {name}")[2].partition("### ")[0]
    told = set(re.findall(r"`(\w+)`", section)) | set(re.findall(r"`(\w+)`", PAGE.rpartition("\n\n")[2]))
    refused = {
        "Assistants": {"create", "update", "delete", "count", "get_versions", "set_latest"},
        "Threads": {"count", "copy", "prune", "join_stream", "stream"},
        "Runs": {"cancel_many", "create_batch"},
    }[name]
    for method, function in inspect.getmembers(CLIENTS[name], inspect.isfunction):
        if not method.startswith("_") and method not in refused:
            asked = set(inspect.signature(function).parameters) - {"self", "headers", "params"}
            assert asked <= told, (method, asked - told)
