#!/usr/bin/env bash
# mark-image.sh IMAGE ...: adds the tag that a release looks for to images, references by digest. The service's has passed
# the smoke test in production.
set -euo pipefail

"$(dirname "$0")/registry.sh"
for image in "$@"; do
    docker buildx imagetools create --tag "${image%@*}:production-$GITHUB_SHA" "$image"
done
