#!/usr/bin/env bash
# Gives IMAGE, an address by digest that has passed production's smoke test, the name that a release looks for.
set -euo pipefail

"$(dirname "$0")/registry.sh"
docker buildx imagetools create --tag "${IMAGE%@*}:production-$GITHUB_SHA" "$IMAGE"
