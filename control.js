'use strict';

// A client of the control socket. See docs/control.md.

module.exports = require('./lib/control/client');
