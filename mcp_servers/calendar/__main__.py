"""`python -m mcp_servers.calendar`: serve until SIGTERM."""

from mcp.server import Server

from mcp_servers.calendar.settings import CalendarSettings
from mcp_servers.calendar.tools import Desk
from mcp_servers.http import serve
from mcp_servers.tools import make_server


def make(settings: CalendarSettings) -> Server[object]:
    """Return the MCP server."""
    return make_server("calendar", "1", Desk(settings).tools)


if __name__ == "__main__":
    serve("mcp_servers.calendar", CalendarSettings.load, make)
