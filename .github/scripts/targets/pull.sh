#!/usr/bin/env bash
# `deploy` deploys nothing. It is for servers that pull released images themselves, such as a VPS. The approvals of
# staging and production still apply. upgrade.sh runs the smoke test if it has an API key (SMOKE_KEY).
set -euo pipefail

case $1 in
deploy)
    echo "::notice::nothing is deployed: servers pull $IMAGE once it is released"
    ;;
*)
    echo "::error::the target pull does not support $1"
    exit 2
    ;;
esac
