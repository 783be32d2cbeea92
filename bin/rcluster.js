#!/usr/bin/env sh
':' /*
# A shell script and a program of Node in one file. The command `rcluster` is an executable in the platform package. The
# script becomes that executable, which for `start` executes Node with this same file. Its variables have names of our own,
# because those that are in the environment already would stay in there.
RCLUSTER_FILE=$(readlink -f -- "$0" 2>/dev/null) || RCLUSTER_FILE=$0
RCLUSTER_PACKAGE=${RCLUSTER_FILE%/bin/*}
case $(uname -sm 2>/dev/null) in
  'Linux x86_64') RCLUSTER_SYSTEM=linux-x64 ;;
  'Linux aarch64') RCLUSTER_SYSTEM=linux-arm64 ;;
  *) RCLUSTER_SYSTEM=none ;;
esac
RCLUSTER_EXECUTABLE=
for RCLUSTER_FOUND in \
  "$RCLUSTER_PACKAGE/rcluster-cli.$RCLUSTER_SYSTEM"-* \
  "$RCLUSTER_PACKAGE/node_modules/rcluster-$RCLUSTER_SYSTEM"-*"/rcluster-cli".* \
  "$RCLUSTER_PACKAGE/../rcluster-$RCLUSTER_SYSTEM"-*"/rcluster-cli".*; do
  if [ -x "$RCLUSTER_FOUND" ]; then
    RCLUSTER_EXECUTABLE=$RCLUSTER_EXECUTABLE${RCLUSTER_EXECUTABLE:+ or }$RCLUSTER_FOUND
  fi
done
if [ -x "$RCLUSTER_EXECUTABLE" ]; then
  if [ "$1" = start ]; then
    # Some shells drop variables whose names they could not use themselves, such as `my.option`.
    RCLUSTER_DROPPED=$(grep -zv '^[A-Za-z_][A-Za-z0-9_]*=' "/proc/$$/environ" 2>/dev/null | base64 2>/dev/null)
    export RCLUSTER_DROPPED
  fi
  export RCLUSTER_PACKAGE
  exec "$RCLUSTER_EXECUTABLE" "$@"
fi
# It is elsewhere, or there are two, or none for this system: Node finds out.
exec node "$RCLUSTER_FILE" "$@"
*/
require('../lib/cli/command');
