#!/usr/bin/env bash
# Copies IMAGE, an address by digest, to the repository that is the argument, which this machine may write to, and
# prints its address there: the same digest, so the same bytes.
set -euo pipefail

digest=${IMAGE#*@}
docker buildx imagetools create --tag "$1:${digest#*:}" "$IMAGE" >&2
echo "$1@$digest"
