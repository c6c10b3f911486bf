#!/usr/bin/env bash
# Copies IMAGE, a reference by digest, to the registry repository in the argument, and prints its reference there. The
# digest stays the same. The job must be logged in to that registry.
set -euo pipefail

digest=${IMAGE#*@}
docker buildx imagetools create --tag "$1:${digest#*:}" "$IMAGE" >&2
echo "$1@$digest"
