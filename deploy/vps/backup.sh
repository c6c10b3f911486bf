#!/usr/bin/env bash
# backup.sh [FOLDER]: copy what Redis and Postgres hold into FOLDER/TIME (the checkout's backups/TIME), while they serve,
# and print where that is. The newest 24 are kept, and the first of each of 14 days. They hold what customers wrote, so
# nobody else may read them.
set -euo pipefail
folder=$(realpath --canonicalize-missing -- "${1:-$(dirname "$0")/../../backups}")
cd "$(dirname "$0")/../.."
umask 077

if [ -z "${VPS_LOCKED:-}" ]; then # an upgrade asks for one while it holds the lock itself
    exec 9>.vps.lock
    flock --nonblock 9 || { echo "a backup, an upgrade or a restore is under way" >&2; exit 1; }
fi

mkdir -p "$folder"
find "$folder" -mindepth 1 -maxdepth 1 -name '.2*Z' -exec rm -r {} + # of one that was killed
while name=$(date -u +%Y%m%dT%H%M%SZ); [ -e "$folder/$name" ]; do sleep 1; done
trap 'rm -rf "$folder/.$name"' EXIT
mkdir "$folder/.$name"
# On standard output redis-cli would leave the mark that ends a transfer at the copy's end, and no Redis would load it.
# shellcheck disable=SC2016 # the container's shell reads the password
docker compose exec -T redis sh -euc '
    umask 077
    trap "rm -f /data/backup.rdb" EXIT
    REDISCLI_AUTH=$(cat /run/secrets/password) redis-cli --rdb /data/backup.rdb >&2
    cat /data/backup.rdb
' >"$folder/.$name/redis.rdb"
docker compose exec -T postgres pg_dump --username=agent --format=custom agent \
    >"$folder/.$name/postgres.dump"
mv "$folder/.$name" "$folder/$name" # only now is it a backup
echo "$folder/$name"

all=$(find "$folder" -mindepth 1 -maxdepth 1 -name '2*Z' -printf '%f\n' | sort)
kept=$(tail -n 24 <<<"$all"; awk -F T '!seen[$1]++' <<<"$all" | tail -n 14)
comm -23 - <(sort -u <<<"$kept") <<<"$all" | sed "s|^|$folder/|" | xargs --no-run-if-empty -d '\n' rm -r
