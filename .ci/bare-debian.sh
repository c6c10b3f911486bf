#!/usr/bin/env bash
# Runs the README's two commands as a newcomer would: in a fresh clone, on a Debian 12 that has Python, pip, git, curl and
# procps, and nothing else. The machine is a folder; debootstrap makes it, and root enters it by chroot. The second command
# runs the tests that depend most on the machine: what starts processes, and what needs programs or a user without rights.
# With --whole it runs all quick tests.
set -euo pipefail
cd "$(dirname "$0")/.."

case $* in
"")
    tests=(tests/cli/test_serve.py tests/local tests/graph tests/api/test_start.py tests/deploy/test_vps_backup.py
        tests/deploy/test_workflow_scripts.py tests/deploy/test_ecs.py tests/test_prose.py)
    ;;
--whole) tests=() ;;
*) echo "usage: bare-debian.sh [--whole]" >&2; exit 2 ;;
esac
[ "$(id -u)" = 0 ] || { echo "bare-debian.sh must run as root, which mounts and enters the folder" >&2; exit 1; }

mapfile -t commands < <(grep '^python3 -m pip ' README.md)
[ "${#commands[@]}" = 2 ] || { echo "README.md must have two commands that begin with python3 -m pip" >&2; exit 1; }

if ! command -v debootstrap >/dev/null; then
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends debootstrap debian-archive-keyring >/dev/null
fi
machine=$(mktemp -d)
chmod 755 "$machine" # Postgres runs as a user without rights
leave() { # never delete the folder while these are mounted
    for folder in dev sys proc; do
        if mountpoint -q "$machine/$folder"; then umount -R -l "$machine/$folder"; fi
    done
    rm -rf --one-file-system "$machine"
}
trap leave EXIT
debootstrap --variant=minbase --include=ca-certificates,curl,git,procps,python3,python3-pip bookworm "$machine" >/dev/null
for folder in proc sys dev; do
    mount --rbind "/$folder" "$machine/$folder"
    mount --make-rslave "$machine/$folder"
done
certificates=etc/ssl/certs/ca-certificates.crt
for file in etc/resolv.conf etc/hosts etc/pip.conf "$certificates"; do
    if [ -f "/$file" ]; then cp -L "/$file" "$machine/$file"; fi
done
git clone -q . "$machine/src"

enter() {
    chroot "$machine" /usr/bin/env -i HOME=/root LANG=C.UTF-8 PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        SSL_CERT_FILE="/$certificates" PIP_ROOT_USER_ACTION=ignore bash -euc "cd /src; $1"
}
received() { # bytes, by all networks but loopback
    local sum=0 network
    for network in /sys/class/net/*; do
        if [ "${network##*/}" != lo ]; then sum=$((sum + $(<"$network/statistics/rx_bytes"))); fi
    done
    echo "$sum"
}

before=$(received)
enter "
    (${commands[0]}) >serve.log 2>&1 &
    for _ in \$(seq 300); do curl -sf localhost:8000/ready >ready && break; sleep 1; done
    [ -s ready ] || { cat serve.log; exit 1; }
    curl -sf localhost:8000/ask -H 'content-type: application/json' -d '{\"question\": \"I was charged twice\"}' >answer
    pkill -TERM -P \$! # uv, which passes it on
    wait
    grep -q refund answer
    du -cm --apparent-size .uv .venv ../root/.cache | tail -n 1 >disk
"
echo "first command: $((($(received) - before) / 1000000)) MB received, $(cut -f1 "$machine/src/disk") MB on disk"
enter "${commands[1]} -rs ${tests[*]}"
