"""A help desk: `python -m harness.receiver PORT FILE` takes a webhook, and adds each request to the file."""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    """Keeps what is posted, and confirms it."""

    def do_POST(self) -> None:
        """Answer a request."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        said = body["data"]["transcript"][0]["content"]
        with Path(sys.argv[2]).open("a", encoding="utf-8") as file:
            file.write(json.dumps([self.headers["webhook-id"], body["type"], said]) + "\n")
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
