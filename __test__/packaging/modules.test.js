'use strict';

// The paths by which the modules of lib/ load each other.

const assert = require('node:assert');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const { inFolder } = require('../helpers/installed.js');

const LIB = path.join(__dirname, '..', '..', 'lib');

/** @param {string} folder @returns {string[]} */
function filesOf(folder) {
  return fs
    .readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.js'))
    .map((name) => path.join(folder, name));
}

// A folder is found only by Node's loader, which looks for it in the file system each time.
test('a module is named by its file, not by its folder', () => {
  const folders = [];
  for (const file of filesOf(LIB)) {
    for (const [call, request] of fs.readFileSync(file, 'utf8').matchAll(/\brequire\('(\.[^']*)'\)/g)) {
      const named = path.join(path.dirname(file), request);
      const isFile = ['', '.js', '.json', '.node'].some((extension) => {
        const found = fs.statSync(`${named}${extension}`, { throwIfNoEntry: false });
        return found !== undefined && found.isFile();
      });
      // The package itself, built or installed, is exempt.
      if (!isFile && path.resolve(named).startsWith(LIB)) {
        folders.push(`${path.relative(LIB, file)}: ${call}`);
      }
    }
  }
  assert.deepStrictEqual(folders, []);
});

test('a module that has thrown is run again at its next use, as by the loader of Node', () =>
  inFolder((folder) => {
    for (const name of ['later.js', 'globals.js']) {
      fs.copyFileSync(path.join(LIB, name), path.join(folder, name));
    }
    const file = path.join(folder, 'late.js');
    fs.writeFileSync(
      file,
      "exports.half = true; if (require('./globals').process.env.TOO_EARLY) throw new Error('early');",
    );
    const { keep, load } = require(path.join(folder, 'later.js'));
    keep(['late']);
    fs.rmSync(file);
    process.env.TOO_EARLY = '1';
    for (let count = 0; count < 2; count++) assert.throws(() => load('late'), { message: 'early' });
    delete process.env.TOO_EARLY;
    assert.deepStrictEqual(load('late'), { half: true });
  }));
