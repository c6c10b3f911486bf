#!/usr/bin/env bash
# Installs the Debian packages in its arguments.
set -euo pipefail

sudo apt-get update -qq
sudo apt-get install -y -qq --no-install-recommends "$@" >/dev/null
