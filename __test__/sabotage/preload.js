'use strict';

// Runs in the saboteur before the preload of the package, when it can still be seen where the link is. The page is opened
// once more, since the package closes its descriptor.

const fs = require('node:fs');

const first = Number(process.env.RCLUSTER_LINK);
globalThis.saboteurLink = Number.isNaN(first)
  ? null
  : {
      control: first,
      connections: first + 1,
      page: fs.openSync(`/proc/self/fd/${first + 2}`, 'r+'),
      lifeline: first + 3,
      // Node has already taken its variable away. Its channel is the descriptor before ours.
      channel: first - 1,
    };
