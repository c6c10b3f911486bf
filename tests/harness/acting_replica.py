"""Run `support-agent` with the tools of harness.acting, whose address is in EFFECTS_URL."""

import os

from cli.main import main
from harness.acting import RemoteTools, given

with given(RemoteTools(os.environ.pop("EFFECTS_URL"), 60)):
    main()
