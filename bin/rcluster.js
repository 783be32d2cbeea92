#!/bin/sh
':' /*
# A shell script and a program of Node in one file. The command `rcluster` is an executable in the platform package. The
# script becomes that executable, which for `start` executes Node with this same file.
file=$(readlink -f -- "$0" 2>/dev/null) || file=$0
RCLUSTER_PACKAGE=${file%/bin/*}
found=
for it in "$RCLUSTER_PACKAGE"/rcluster-cli.linux-* "$RCLUSTER_PACKAGE"/../rcluster-linux-*"/"rcluster-cli.linux-*; do
  if [ -x "$it" ]; then found=$found${found:+ or }$it; fi
done
if [ -x "$found" ]; then
  export RCLUSTER_PACKAGE
  exec "$found" "$@"
fi
unset RCLUSTER_PACKAGE
# It is elsewhere, or there are two, for different systems, or none: Node finds out.
exec node "$file" "$@"
*/
require('../lib/cli/command');
