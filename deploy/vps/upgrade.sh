#!/usr/bin/env bash
# upgrade.sh IMAGE [SERVERS]: pull IMAGE and upgrade one replica after the other, without downtime. If a replica does not
# become ready in time, or fails the smoke test (with SMOKE_KEY, an API key, in .env), it rolls both back to the previous
# image and exits with 1. With SERVERS, an image of the e-mail and calendar servers, it upgrades those of them that run, too,
# and rolls everything back if one of them is not healthy. To roll back later, pass the previous images, which the last
# upgrade has printed.
#
# It writes the new images to .env last, so that the next upgrade completes one that was killed.
set -euo pipefail
cd "$(dirname "$0")/../.."

image=${1:?name an image, such as ghcr.io/example/support-agent:v0.1.0}
servers_image=${2:-}
exec 9>.vps.lock
flock --nonblock 9 || { echo "another backup, upgrade or restore is running" >&2; exit 1; }
export VPS_LOCKED=1

digest() { # IMAGE: print its reference by digest
    docker image inspect --format '{{index .RepoDigests 0}}' "$1"
}

running() { # SERVICE ...: print the image of each that runs
    docker compose ps --quiet "$@" | xargs --no-run-if-empty docker inspect --format '{{.Config.Image}}'
}

setting() { # NAME: print its value in .env as Compose reads it, with or without quotes or a comment after it
    sed -n "s/^$1=//p" .env | tail -n 1 |
        sed -E "s/^'([^']*)'.*/\1/; t; s/^\"([^\"]*)\".*/\1/; t; s/(^|[[:space:]]+)#.*//; s/[[:space:]]+\$//"
}

remember() { # NAME IMAGE: write it to .env, so that each further start uses it
    sed -i --follow-symlinks "s|^$1=.*|$1=$2|" .env || { echo "can't write $1=$2 into .env" >&2; exit 1; }
}

pinned() { # NAME SERVICE: print the image in .env by digest; a tag may mean another image after the pull than the one that runs
    local there container
    there=$(setting "$1")
    [ -n "$there" ] || { echo "$1 is not set in .env" >&2; return 1; }
    if [[ $there != *@sha256:* ]]; then
        container=$(docker compose ps --all --quiet "$2")
        there=$(digest "$(docker inspect --format '{{.Image}}' "$container")") \
            || { echo "can't roll back later: the image of $2 was not pulled from a registry" >&2; return 1; }
    fi
    echo "$there"
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

serve() { # IMAGE: run the servers with it; each is one process, so the agent has its tools again after seconds
    local server
    for server in "${servers[@]}"; do
        SERVERS_IMAGE=$1 docker compose up --detach --no-build --no-deps --wait --wait-timeout 180 "$server" || return 1
    done
}

replace() { # stops and fails at the first replica or server that fails
    for replica in api-1 api-2; do
        start "$replica" "$after" || return 1
        smoke "$replica" || return 1
    done
    serve "$servers_after"
}

before=$(pinned AGENT_IMAGE api-2) || exit 1
remember AGENT_IMAGE "$before"
servers=()
servers_before='' servers_after=''
if [ -n "$servers_image" ]; then
    found=$(docker compose ps --services mcp-email mcp-calendar)
    [ -n "$found" ] || { echo "neither the e-mail nor the calendar server is running" >&2; exit 1; }
    mapfile -t servers <<<"$found"
    servers_before=$(pinned SERVERS_IMAGE "${servers[0]}") || exit 1
    remember SERVERS_IMAGE "$servers_before"
    docker pull --quiet "$servers_image" >/dev/null
    servers_after=$(digest "$servers_image")
fi
docker pull --quiet "$image" >/dev/null
after=$(digest "$image")
is_current() { # replicas and servers run what they should
    [ "$before" = "$after" ] && [ "$(running api-1 api-2)" = "$after"$'\n'"$after" ] || return 1
    [ "${#servers[@]}" -gt 0 ] || return 0
    [ "$servers_before" = "$servers_after" ] && [ "$(running "${servers[@]}" | sort --unique)" = "$servers_after" ]
}
if is_current; then
    echo "$after${servers_after:+ with $servers_after} is already running"
    exit
fi

deploy/vps/backup.sh
if replace; then
    remember AGENT_IMAGE "$after"
    [ -z "$servers_after" ] || remember SERVERS_IMAGE "$servers_after"
    echo "upgraded from $before${servers_before:+ $servers_before} to $after${servers_after:+ $servers_after}"
    docker image prune --force >/dev/null
    exit
fi
echo "$after${servers_after:+ with $servers_after} is not healthy; rolling back to $before${servers_before:+ with $servers_before}" >&2
docker compose logs --tail 50 api-1 api-2 "${servers[@]}" >&2 || true
order=(api-1 api-2) # first the one that failed, while the other may still serve
[ "$replica" = api-1 ] || order=(api-2 api-1)
for replica in "${order[@]}"; do
    start "$replica" "$before" || { echo "$before does not become ready either" >&2; exit 1; }
done
serve "$servers_before" || { echo "$servers_before does not become healthy either" >&2; exit 1; }
exit 1
