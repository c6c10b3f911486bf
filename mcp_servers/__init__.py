"""Servers of their own, which the agent reaches over MCP; what they promise is in docs/mcp.md."""
