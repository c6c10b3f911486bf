"""What the agent does beyond answering: tools of MCP servers, actions that a customer confirms, handing over."""
