#!/usr/bin/env bash
# backup.sh [FOLDER]: copy what Redis and Postgres hold into FOLDER/TIME (backups/TIME), while they serve, and keep the
# newest 14. They hold what customers wrote, so nobody else may read them.
set -euo pipefail
cd "$(dirname "$0")/../.."
umask 077

folder=${1:-backups}
name=$(date -u +%Y%m%dT%H%M%SZ)
mkdir -p "$folder/.$name"
# shellcheck disable=SC2016 # the container's shell reads the password
docker compose exec -T redis sh -c 'REDISCLI_AUTH=$(cat /run/secrets/password) redis-cli --rdb -' \
    >"$folder/.$name/redis.rdb"
docker compose exec -T postgres pg_dump --username=agent --format=custom agent \
    >"$folder/.$name/postgres.dump"
mv "$folder/.$name" "$folder/$name" # only now is it a backup
echo "$folder/$name"

find "$folder" -mindepth 1 -maxdepth 1 -name '2*Z' | sort | head -n -14 | xargs --no-run-if-empty rm -r
