#!/usr/bin/env bash
# Fails unless each job in NEEDS, the JSON of the context `needs`, succeeded; only the comment may be skipped.
set -euo pipefail

python3 -c '
import json, os, sys

needs = json.loads(os.environ["NEEDS"])
wrong = {
    name: job["result"]
    for name, job in needs.items()
    if job["result"] != "success" and (name, job["result"]) != ("comment", "skipped")
}
for name, result in wrong.items():
    print(f"::error::{name}: {result}")
sys.exit(bool(wrong) or not needs)
'
