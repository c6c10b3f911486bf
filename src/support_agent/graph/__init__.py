"""The agent: its state graph, models and articles. Knows no HTTP."""
