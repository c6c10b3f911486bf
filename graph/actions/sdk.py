"""The import of MCP's SDK, which takes a second and 23 MB: only where a server is configured."""

import importlib
import logging


def load_sdk() -> None:
    """Import the SDK, and silence it: what it logs quotes customers and servers."""
    importlib.import_module("mcp.client.client")
    for name in ("mcp", "client"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # an address may hold a key
