"""The one assistant: our graph, by the name and the id that it has under `langgraph dev`."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from graph.builder import AgentGraph

GRAPH_ID = "agent"
"""The graph's name in langgraph.json."""

ASSISTANT_ID = "fe096781-5601-53d2-b2f6-0d3403f7e9ca"
"""The id that LangGraph's server derives from that name, so that clients may know it by either."""

DESCRIPTION = "Answers customers' questions from the company's own help articles."

_OF_THE_KEY = ("tenant", "visitor")  # what a run's context has from the caller's key, and no client can set


def is_assistant(name: str) -> bool:
    """Return whether a client means the assistant by this name or id."""
    return name.lower() in (GRAPH_ID, ASSISTANT_ID)


def drawing(graph: AgentGraph) -> dict[str, list[dict[str, Any]]]:
    """Return the graph's nodes and edges."""
    drawn: dict[str, list[dict[str, Any]]] = graph.get_graph().to_json()
    for node in drawn["nodes"]:
        if "data" in node:
            node["data"] = {"name": node["data"]["name"]}  # without the class that runs it
    return drawn


@lru_cache(maxsize=1)
def schemas(graph: AgentGraph, desks: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the JSON schemas of the graph's input, state and context, as far as clients can set and see them."""
    context: dict[str, Any] = graph.get_context_jsonschema() or {}
    context["properties"] = {name: field for name, field in context["properties"].items() if name not in _OF_THE_KEY}
    state = graph.get_output_jsonschema()
    state["properties"]["category"]["enum"] = list(desks)
    state["required"] = ["messages"]  # a thread without a turn has nothing else
    return {
        "graph_id": GRAPH_ID,
        "input_schema": graph.get_input_jsonschema(),
        "output_schema": state,
        "state_schema": state,
        "config_schema": context,
        "context_schema": context,
    }
