#!/usr/bin/env bash
# sync.sh: bring what has changed in the articles to the replicas. One that is still running is left alone, and this one
# exits with 0. It runs the image of the replicas, or SYNC_IMAGE of .env.
set -euo pipefail
cd "$(dirname "$0")/../.."
exec 9>.vps.sync.lock
flock --nonblock 9 || exit 0
exec docker compose run --rm --no-deps -T --entrypoint support-agent sync knowledge sync
