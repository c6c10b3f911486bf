#!/usr/bin/env bash
# upgrade.sh IMAGE: pull IMAGE and upgrade one replica after the other, without downtime. If a replica does not become
# ready in time, or fails the smoke test (with SMOKE_KEY, an API key, in .env), it rolls both back to the previous image
# and exits with 1. To roll back later, pass the previous image, which the last upgrade has printed.
#
# It writes the new image to .env last, so that the next upgrade completes one that was killed.
set -euo pipefail
cd "$(dirname "$0")/../.."

image=${1:?name an image, such as ghcr.io/example/support-agent:v0.1.0}
exec 9>.vps.lock
flock --nonblock 9 || { echo "another backup, upgrade or restore is running" >&2; exit 1; }
export VPS_LOCKED=1

digest() { # IMAGE: print its reference by digest
    docker image inspect --format '{{index .RepoDigests 0}}' "$1"
}

running() { # print the image of each running replica
    docker compose ps --quiet api-1 api-2 | xargs --no-run-if-empty docker inspect --format '{{.Config.Image}}'
}

setting() { # NAME: print its value in .env as Compose reads it, with or without quotes or a comment after it
    sed -n "s/^$1=//p" .env | tail -n 1 |
        sed -E "s/^'([^']*)'.*/\1/; t; s/^\"([^\"]*)\".*/\1/; t; s/(^|[[:space:]]+)#.*//; s/[[:space:]]+\$//"
}

remember() { # IMAGE: write it to .env, so that each further start uses it
    sed -i --follow-symlinks "s|^AGENT_IMAGE=.*|AGENT_IMAGE=$1|" .env || { echo "can't write AGENT_IMAGE=$1 into .env" >&2; exit 1; }
}

start() { # REPLICA IMAGE: fails unless it becomes ready in time; --wait waits only for the liveness check
    AGENT_IMAGE=$2 docker compose up --detach --no-build --no-deps --wait --wait-timeout 180 "$1" || return 1
    local answer
    for _ in {1..6}; do
        answer=$(docker compose exec -T "$1" python -I -c '
import http.client
asked = http.client.HTTPConnection("127.0.0.1", 8000, timeout=5)
asked.request("GET", "/ready")
answer = asked.getresponse()
raise SystemExit(0 if answer.status == 200 else answer.read().decode())' 2>&1 </dev/null) && return
        sleep 10
    done
    echo "$1 is not ready: $answer" >&2
    return 1
}

smoke() { # REPLICA: fails if the smoke test fails
    local key
    key=$(setting SMOKE_KEY)
    [ -n "$key" ] || return 0
    docker compose exec -T "$1" sh -c 'umask 077; trap "rm -f /tmp/key" EXIT; cat >/tmp/key
        python deploy/smoke.py http://127.0.0.1:8000 --key-file /tmp/key' <<<"$key"
}

replace() { # stops and fails at the first replica that fails
    for replica in api-1 api-2; do
        start "$replica" "$after" || return 1
        smoke "$replica" || return 1
    done
}

before=$(setting AGENT_IMAGE)
[ -n "$before" ] || { echo "AGENT_IMAGE is not set in .env" >&2; exit 1; }
if [[ $before != *@sha256:* ]]; then # a tag may mean another image after the pull, so the running image's digest is saved
    container=$(docker compose ps --all --quiet api-2)
    before=$(digest "$(docker inspect --format '{{.Image}}' "$container")") \
        || { echo "can't roll back later: the image of api-2 was not pulled from a registry" >&2; exit 1; }
fi
remember "$before"
docker pull --quiet "$image" >/dev/null
after=$(digest "$image")
if [ "$before" = "$after" ] && [ "$(running)" = "$after"$'\n'"$after" ]; then
    echo "$after is already running"
    exit
fi

deploy/vps/backup.sh
if replace; then
    remember "$after"
    echo "upgraded from $before to $after"
    docker image prune --force >/dev/null
    exit
fi
echo "$after is not healthy; rolling back to $before" >&2
docker compose logs --tail 50 api-1 api-2 >&2 || true
order=(api-1 api-2) # first the one that failed, while the other may still serve
[ "$replica" = api-1 ] || order=(api-2 api-1)
for replica in "${order[@]}"; do
    start "$replica" "$before" || { echo "$before does not become ready either" >&2; exit 1; }
done
exit 1
