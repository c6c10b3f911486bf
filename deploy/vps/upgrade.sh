#!/usr/bin/env bash
# upgrade.sh IMAGE: run the newest image of that name, one replica after the other, so that one always serves. Where one
# is not ready in time, or with SMOKE_KEY (an API key) in .env fails the smoke test, both go back to the image before,
# and the exit status is 1. To go back later, name the image that the last upgrade says it came from.
#
# .env names the new image last: until then an upgrade is not over, and the next one finishes what was killed.
set -euo pipefail
cd "$(dirname "$0")/../.."

image=${1:?which image? such as ghcr.io/example/support-agent:v0.1.0}
exec 9>.vps.lock
flock --nonblock 9 || { echo "a backup, an upgrade or a restore is under way" >&2; exit 1; }
export VPS_LOCKED=1

digest() { # IMAGE: print its address by digest
    docker image inspect --format '{{index .RepoDigests 0}}' "$1"
}

running() { # print what each replica that runs was started from
    docker compose ps --quiet api-1 api-2 | xargs --no-run-if-empty docker inspect --format '{{.Config.Image}}'
}

setting() { # NAME: print what .env says, as Compose takes it: with or without quotes, and a comment behind it
    sed -n "s/^$1=//p" .env | tail -n 1 |
        sed -E "s/^'([^']*)'.*/\1/; t; s/^\"([^\"]*)\".*/\1/; t; s/(^|[[:space:]]+)#.*//; s/[[:space:]]+\$//"
}

remember() { # IMAGE: have it run by whatever starts the replicas next
    sed -i --follow-symlinks "s|^AGENT_IMAGE=.*|AGENT_IMAGE=$1|" .env || { echo "can't write AGENT_IMAGE=$1 into .env" >&2; exit 1; }
}

start() { # REPLICA IMAGE: fails unless it takes new work in time; that it lives is all that --wait waits for
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

smoke() { # REPLICA: fails unless it answers
    local key
    key=$(setting SMOKE_KEY)
    [ -n "$key" ] || return 0
    docker compose exec -T "$1" sh -c 'umask 077; trap "rm -f /tmp/key" EXIT; cat >/tmp/key
        python deploy/smoke.py http://127.0.0.1:8000 --key-file /tmp/key' <<<"$key"
}

replace() { # fails with the first replica that does not serve
    for replica in api-1 api-2; do
        start "$replica" "$after" || return 1
        smoke "$replica" || return 1
    done
}

before=$(setting AGENT_IMAGE)
[ -n "$before" ] || { echo "AGENT_IMAGE is not set in .env" >&2; exit 1; }
if [[ $before != *@sha256:* ]]; then # a tag, another image's once it is pulled: what runs is what to go back to
    container=$(docker compose ps --all --quiet api-2)
    before=$(digest "$(docker inspect --format '{{.Image}}' "$container")") \
        || { echo "can't go back: api-2 runs no image that was pulled" >&2; exit 1; }
fi
remember "$before"
docker pull --quiet "$image" >/dev/null
after=$(digest "$image")
if [ "$before" = "$after" ] && [ "$(running)" = "$after"$'\n'"$after" ]; then
    echo "$after runs already"
    exit
fi

deploy/vps/backup.sh
if replace; then
    remember "$after"
    echo "upgraded from $before to $after"
    docker image prune --force >/dev/null
    exit
fi
echo "$after does not serve; going back to $before" >&2
docker compose logs --tail 50 api-1 api-2 >&2 || true
order=(api-1 api-2) # first the one that does not serve; the other may go on until then
[ "$replica" = api-1 ] || order=(api-2 api-1)
for replica in "${order[@]}"; do
    start "$replica" "$before" || { echo "$before does not become ready either" >&2; exit 1; }
done
exit 1
