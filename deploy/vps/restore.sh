#!/usr/bin/env bash
# restore.sh BACKUP: replace the data in Redis and Postgres with a backup from backup.sh. The service is down meanwhile.
# If it fails, it puts the old data back, starts the service again, and exits with 1.
set -euo pipefail
backup=$(realpath "${1:?name a backup, such as backups/20261123T031500Z}")
cd "$(dirname "$0")/../.."
exec 9>.vps.lock
flock --nonblock 9 || { echo "another backup, upgrade or restore is running" >&2; exit 1; }

in_redis() { # COMMANDS: run them in Redis's data folder, whether Redis is running or not
    docker compose run --rm -T --no-deps --entrypoint sh redis -euc "cd /data; $1"
}

refuse() { # FILE
    echo "$backup/$1 can't be restored; nothing was changed" >&2
    exit 1
}

before=before-$(date -u +%Y%m%dT%H%M%SZ)
put_back() {
    set +e # after a failure, still try the rest
    trap '' HUP INT TERM
    echo "not restored; putting the old data back" >&2
    # Postgres too, because it may still run the transaction.
    docker compose stop api-1 api-2 redis postgres \
        && in_redis "rm -rf restored; [ ! -e $before ] || { rm -rf appendonlydir; mv $before appendonlydir; }" \
            </dev/null \
        || echo "the old data of Redis may be in the folder $before of its volume" >&2
    docker compose up --detach --no-build --wait || echo "the service does not start" >&2
    exit 1
}

# Reads all of both files before it stops anything; --list would accept a truncated dump.
docker compose run --rm -T --no-deps --entrypoint pg_restore postgres --file=/dev/null <"$backup/postgres.dump" \
    || refuse postgres.dump
# An append-only file may start with an RDB file such as this backup.
in_redis '
    rm -rf restored
    mkdir restored
    echo "file appendonly.aof.1.base.rdb seq 1 type b" >restored/appendonly.aof.manifest
    cat >restored/appendonly.aof.1.base.rdb && redis-check-aof restored/appendonly.aof.manifest >&2 \
        || { rm -rf restored; exit 1; }
    chown -R redis:redis restored
' <"$backup/redis.rdb" || refuse redis.rdb

trap put_back EXIT
docker compose stop api-1 api-2 redis
in_redis "mkdir -p appendonlydir; mv appendonlydir $before; mv restored appendonlydir" </dev/null
docker compose up --detach --no-build --wait redis postgres
docker compose exec -T postgres pg_restore --username=agent --dbname=agent --clean --if-exists --single-transaction \
    <"$backup/postgres.dump"
trap - EXIT # both are restored now
docker compose up --detach --no-build --wait || { echo "restored, but the service does not start" >&2; exit 1; }
in_redis 'rm -rf before-*' </dev/null
