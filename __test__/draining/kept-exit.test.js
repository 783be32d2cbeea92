'use strict';

// While a signal is handled, process.exit() is replaced. An app may keep that function, and call it later.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const path = require('node:path');
const { test } = require('node:test');

const SIGNALS = path.join(__dirname, '..', '..', 'lib', 'seam', 'signals.js');

test('it ends the process when the signal has been handled', () => {
  const program = `
    const { createExitHold } = require(${JSON.stringify(SIGNALS)});
    const hold = createExitHold(['SIGTERM'], () => console.log('held'));
    const { exit: original } = process;
    hold.hold();
    const { exit } = process;
    exit(7);
    setImmediate(() => {
      hold.release();
      console.log(process.exit === original);
      exit(7);
    });
  `;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', program], { encoding: 'utf8' });
  assert.deepStrictEqual([status, stdout, stderr], [7, 'held\ntrue\n', '']);
});
