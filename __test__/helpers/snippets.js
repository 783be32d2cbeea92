'use strict';

// The code in the documentation. The words after the language of a block define its kind:
//
//   js              a whole program: it is run, answers on its port, and ends with 0 after SIGTERM
//   js primary      code for the primary of a program whose workers serve HTTP: run in the same way
//   js worker       code for the workers of such a program: run in the same way
//   js fragment     needs things that only the reader has: its syntax is checked
//   js app.js       a file, for the commands of the same page
//   sh              commands for the reader's machine: their syntax is checked
//   sh app          starts the program of the page; the commands after it are run while it serves
//   sh run          commands that are run, and succeed
//   sh fails        a command that is run, and fails

const fs = require('node:fs');
const path = require('node:path');

const ROOT = path.join(__dirname, '..', '..');

/**
 * @typedef {{ page: string, line: number, language: string, kind: string, code: string }} Snippet
 */

/** @returns {string[]} README.md and the pages in docs/, by their paths in the project */
function pages() {
  const docs = fs.readdirSync(path.join(ROOT, 'docs')).filter((name) => name.endsWith('.md'));
  return ['README.md', 'CONTRIBUTING.md', ...docs.map((name) => path.join('docs', name))];
}

/**
 * @param {string} page
 * @returns {Snippet[]} its blocks in `js` and `sh`
 */
function snippetsOf(page) {
  const text = fs.readFileSync(path.join(ROOT, page), 'utf8');
  const blocks = text.matchAll(/^( *)```(\w*) ?([^\n]*)\n(.*?)^\1```$/gms);
  return [...blocks]
    .map(({ 1: indent, 2: language, 3: kind, 4: code, index = 0 }) => ({
      page,
      line: text.slice(0, index).split('\n').length,
      language,
      kind: kind.trim(),
      code: code.replaceAll(new RegExp(`^${indent}`, 'gm'), ''),
    }))
    .filter(({ language }) => language === 'js' || language === 'sh');
}

/** @returns {string[]} the files that declare the types, by their paths in the project */
function declarations() {
  const folders = ['types', path.join('lib', 'adapters', 'types')];
  const files = folders.flatMap((folder) =>
    fs.readdirSync(path.join(ROOT, folder)).map((name) => path.join(folder, name)),
  );
  return ['index.d.ts', ...files];
}

/**
 * @param {string} file with comments
 * @returns {{ line: number, code: string }[]} the code in the comments
 */
function examplesOf(file) {
  const text = fs.readFileSync(path.join(ROOT, file), 'utf8');
  return [...text.matchAll(/^ *\* ```js\n(.*?)^ *\* ```$/gms)].map(({ 1: code, index = 0 }) => ({
    line: text.slice(0, index).split('\n').length,
    code: code.replaceAll(/^ *\* ?/gm, ''),
  }));
}

/** The ports that a snippet binds. They may be in use, so each is replaced by a free one. */
const PORT = /(?<=\.listen\(|port: |localhost:|PORT \?\? )\d{2,5}\b/g;

/**
 * @param {string} code
 * @returns {string[]}
 */
function portsOf(code) {
  return [...new Set(code.match(PORT))];
}

/**
 * @param {string} code
 * @param {Map<string, number>} ports the replacement for each
 */
function withPorts(code, ports) {
  return code.replaceAll(PORT, (port) => String(ports.get(port) ?? port));
}

/**
 * @param {string} code for the primary
 * @param {number} port on which workers serve unless they have one of their own
 * @returns {string} a whole program
 */
function aroundPrimary(code, port) {
  return `
const cluster = require('rcluster');
const http = require('node:http');

if (cluster.isPrimary) {
  {
${code}
  }
  try {
    cluster.supervise({ workers: 2 });
  } catch (error) {
    if (error.code !== 'ERR_RCLUSTER_SUPERVISED') throw error;
  }
} else {
  http.createServer((request, response) => response.end('ok\\n')).listen(process.env.PORT ?? ${port});
}
`;
}

/**
 * @param {string} code for workers
 * @param {number} port
 * @returns {string} a whole program
 */
function aroundWorker(code, port) {
  return `
const cluster = require('rcluster');
const http = require('node:http');

if (cluster.isPrimary) {
  cluster.supervise({ workers: 2 });
} else {
  const server = http.createServer((request, response) => response.end('ok\\n')).listen(${port});
  {
${code}
  }
}
`;
}

module.exports = {
  ROOT,
  aroundPrimary,
  aroundWorker,
  declarations,
  examplesOf,
  pages,
  portsOf,
  snippetsOf,
  withPorts,
};
