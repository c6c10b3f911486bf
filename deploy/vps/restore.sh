#!/usr/bin/env bash
# restore.sh BACKUP: put back what backup.sh has copied, in place of what Redis and Postgres hold. Nobody is served
# meanwhile.
set -euo pipefail
backup=$(realpath "${1:?which backup? such as backups/20261123T031500Z}")
cd "$(dirname "$0")/../.."

check() { # FILE BEGINNING: refuse what is no copy, before anything is lost
    [ "$(head -c 5 "$backup/$1")" = "$2" ] || { echo "$backup/$1 is not what backup.sh wrote" >&2; exit 1; }
}
check redis.rdb REDIS
check postgres.dump PGDMP

docker compose stop api-1 api-2 redis
# An append-only file may begin with a copy like this one.
docker compose run --rm -T --no-deps --entrypoint sh redis -euc '
    rm -rf /data/appendonlydir
    mkdir /data/appendonlydir
    cat >/data/appendonlydir/appendonly.aof.1.base.rdb
    echo "file appendonly.aof.1.base.rdb seq 1 type b" >/data/appendonlydir/appendonly.aof.manifest
    chown -R redis:redis /data/appendonlydir
' <"$backup/redis.rdb"
docker compose up --detach --no-build --wait redis postgres
docker compose exec -T postgres pg_restore --username=agent --dbname=agent --clean --if-exists --single-transaction \
    <"$backup/postgres.dump"
docker compose up --detach --no-build --wait
