#!/usr/bin/env bash
# backup.sh [FOLDER]: back up Redis and Postgres to FOLDER/TIME (default: backups/TIME in the checkout) without downtime,
# and print the path. It keeps the newest 24 backups, and the first of each day for 14 days. Backups contain customers'
# messages, so only their owner can read them.
set -euo pipefail
folder=$(realpath --canonicalize-missing -- "${1:-$(dirname "$0")/../../backups}")
cd "$(dirname "$0")/../.."
umask 077

if [ -z "${VPS_LOCKED:-}" ]; then # upgrade.sh holds the lock when it calls this
    exec 9>.vps.lock
    flock --nonblock 9 || { echo "another backup, upgrade or restore is running" >&2; exit 1; }
fi

mkdir -p "$folder"
find "$folder" -mindepth 1 -maxdepth 1 -name '.2*Z' -exec rm -r {} + # left by a killed backup
while name=$(date -u +%Y%m%dT%H%M%SZ); [ -e "$folder/$name" ]; do sleep 1; done
trap 'rm -rf "$folder/.$name"' EXIT
mkdir "$folder/.$name"
# To standard output, redis-cli would append the transfer's end mark to the copy, and Redis could not load it.
# shellcheck disable=SC2016 # the container's shell reads the password
docker compose exec -T redis sh -euc '
    umask 077
    trap "rm -f /data/backup.rdb" EXIT
    REDISCLI_AUTH=$(cat /run/secrets/password) redis-cli --rdb /data/backup.rdb >&2
    cat /data/backup.rdb
' >"$folder/.$name/redis.rdb"
docker compose exec -T postgres pg_dump --username=agent --format=custom agent \
    >"$folder/.$name/postgres.dump"
mv "$folder/.$name" "$folder/$name" # only a complete backup gets this name
echo "$folder/$name"

all=$(find "$folder" -mindepth 1 -maxdepth 1 -name '2*Z' -printf '%f\n' | sort)
kept=$(tail -n 24 <<<"$all"; awk -F T '!seen[$1]++' <<<"$all" | tail -n 14)
comm -23 - <(sort -u <<<"$kept") <<<"$all" | sed "s|^|$folder/|" | xargs --no-run-if-empty -d '\n' rm -r
