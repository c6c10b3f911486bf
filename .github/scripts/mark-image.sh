#!/usr/bin/env bash
# Adds the tag that a release looks for to IMAGE, a reference by digest that has passed the smoke test in production.
set -euo pipefail

"$(dirname "$0")/registry.sh"
docker buildx imagetools create --tag "${IMAGE%@*}:production-$GITHUB_SHA" "$IMAGE"
