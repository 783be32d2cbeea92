'use strict';

// Runs in the saboteur before the preload of the package, while the descriptors of the link are still visible. The page is opened
// again, because the package closes its descriptor.

const fs = require('node:fs');

const first = Number(process.env.RCLUSTER_LINK);
globalThis.saboteurLink = Number.isNaN(first)
  ? null
  : {
      control: first,
      connections: first + 1,
      page: fs.openSync(`/proc/self/fd/${first + 2}`, 'r+'),
      lifeline: first + 3,
      // Node has already removed its variable. Its channel is the descriptor before ours.
      channel: first - 1,
    };
