"""`python -m mcp_servers.email`: serve until SIGTERM."""

from mcp.server import Server

from mcp_servers.email.settings import EmailSettings
from mcp_servers.email.tools import Mailbox
from mcp_servers.http import serve
from mcp_servers.tools import make_server


def make(settings: EmailSettings) -> Server[object]:
    """Return the MCP server."""
    return make_server("email", "1", [Mailbox(settings).tool])


if __name__ == "__main__":
    serve("mcp_servers.email", EmailSettings.load, make)
