#!/usr/bin/env bash
# Installs uv, which installs the rest when it first runs something.
set -euo pipefail

python3 -m pip install --quiet uv==0.13.9
