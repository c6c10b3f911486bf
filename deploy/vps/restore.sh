#!/usr/bin/env bash
# restore.sh BACKUP: put back what backup.sh has copied, in place of what Redis and Postgres hold. Nobody is served
# meanwhile. Where it can't, what was there comes back, the service starts again, and the exit status is 1.
set -euo pipefail
backup=$(realpath "${1:?which backup? such as backups/20261123T031500Z}")
cd "$(dirname "$0")/../.."
exec 9>.vps.lock
flock --nonblock 9 || { echo "a backup, an upgrade or a restore is under way" >&2; exit 1; }

in_redis() { # COMMANDS: run them where Redis keeps its files, whether it runs or not
    docker compose run --rm -T --no-deps --entrypoint sh redis -euc "cd /data; $1"
}

refuse() { # FILE
    echo "$backup/$1 can't be restored; nothing was changed" >&2
    exit 1
}

before=before-$(date -u +%Y%m%dT%H%M%SZ)
put_back() {
    set +e # whatever fails, the rest is tried
    trap '' HUP INT TERM
    echo "not restored; going back to what was there" >&2
    # Postgres too: it may be at the transaction still.
    docker compose stop api-1 api-2 redis postgres \
        && in_redis "rm -rf restored; [ ! -e $before ] || { rm -rf appendonlydir; mv $before appendonlydir; }" \
            </dev/null \
        || echo "what Redis held may be in the folder $before of its volume" >&2
    docker compose up --detach --no-build --wait || echo "the service does not start again" >&2
    exit 1
}

# All of both is read before anything is stopped: of a dump that was cut off, --list would still say what it held.
docker compose run --rm -T --no-deps --entrypoint pg_restore postgres --file=/dev/null <"$backup/postgres.dump" \
    || refuse postgres.dump
# An append-only file may begin with a copy like this one.
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
trap - EXIT # both are restored
docker compose up --detach --no-build --wait || { echo "restored, but the service does not start" >&2; exit 1; }
in_redis 'rm -rf before-*' </dev/null
