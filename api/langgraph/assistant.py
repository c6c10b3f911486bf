"""The one assistant: our graph, by the name and the id that it has under `langgraph dev`."""

GRAPH_ID = "agent"
"""The graph's name in langgraph.json."""

ASSISTANT_ID = "fe096781-5601-53d2-b2f6-0d3403f7e9ca"
"""The id that LangGraph's server derives from that name, so that clients may know it by either."""
