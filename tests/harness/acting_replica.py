"""Run `support-agent` with the tools of harness.acting, whose address is in EFFECTS_URL."""

import os

import graph.agent
from cli.main import main
from harness.acting import RemoteTools

graph.agent.open_tools = RemoteTools(os.environ.pop("EFFECTS_URL"), 60).opened
main()
