#!/usr/bin/env bash
# upgrade.sh IMAGE: run the newest image of that name, one replica after the other, so that one always serves.
# Where a replica is not ready in time both go back to the image before, and the exit status is 1. To go back later,
# name the image that the last upgrade says it came from.
set -euo pipefail
cd "$(dirname "$0")/../.."

image=${1:?which image? such as ghcr.io/example/support-agent:v0.1.0}
exec 9>.upgrade.lock
flock --nonblock 9 || { echo "another upgrade is under way" >&2; exit 1; }

run() { # IMAGE: have both replicas run it; fails with the first that is not ready in time
    sed -i "s|^AGENT_IMAGE=.*|AGENT_IMAGE=$1|" .env
    for replica in api-1 api-2; do
        docker compose up --detach --no-build --no-deps --wait --wait-timeout 180 "$replica" || return 1
    done
}

before=$(sed -n 's/^AGENT_IMAGE=//p' .env)
[ -n "$before" ] || { echo "AGENT_IMAGE is not set in .env" >&2; exit 1; }
docker pull --quiet "$image" >/dev/null
after=$(docker image inspect --format '{{index .RepoDigests 0}}' "$image")
if [ "$after" = "$before" ]; then
    echo "$after runs already"
    exit
fi

deploy/vps/backup.sh
if run "$after"; then
    echo "upgraded from $before to $after"
    docker image prune --force >/dev/null
    exit
fi
echo "$after does not become ready; going back to $before" >&2
docker compose logs --tail 50 api-1 api-2 >&2 || true
run "$before" || echo "$before does not become ready either" >&2
exit 1
