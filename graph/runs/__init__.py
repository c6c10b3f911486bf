"""One execution of the graph, and the conversation that it belongs to."""
