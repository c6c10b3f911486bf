#!/usr/bin/env bash
# `deploy` deploys nothing: for services that take what is released by themselves, as one on a machine of one's own does.
# The approvals of staging and production hold; upgrade.sh runs the smoke test where it has a key (SMOKE_KEY).
set -euo pipefail

case $1 in
deploy)
    echo "::notice::nothing is deployed: a release lets others pull $IMAGE"
    ;;
*)
    echo "::error::there is nothing to $1"
    exit 2
    ;;
esac
