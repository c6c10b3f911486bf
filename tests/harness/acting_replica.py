"""Run `support-agent` with the tools of harness.acting, whose address is in EFFECTS_URL."""

import os
from functools import partial

import api.lifespan
from cli.main import main
from graph.agent import open_agent
from harness.acting import RemoteTools

api.lifespan.open_agent = partial(open_agent, tools=RemoteTools(os.environ.pop("EFFECTS_URL"), 60))
main()
