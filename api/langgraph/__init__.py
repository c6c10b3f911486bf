"""The LangGraph API: the part of LangGraph's server that its clients use, for our own sessions and runs."""
