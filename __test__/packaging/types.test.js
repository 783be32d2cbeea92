'use strict';

// The type tests in `types` pass, and fail if a type is broken.

const assert = require('node:assert');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');

const ROOT = path.join(__dirname, '..', '..');

/** Each file of declarations with its text. @type {Record<string, string>} */
const DECLARATIONS = Object.fromEntries(
  ['index.d.ts', ...fs.readdirSync(path.join(ROOT, 'types')).map((name) => `types/${name}`)].map((name) => [
    name,
    fs.readFileSync(path.join(ROOT, name), 'utf8'),
  ]),
);

/** The breakages, each as a replacement. */
const SPOILT = {
  'a function is missing': [/^ *setupMaster\(settings.*\n/m, ''],
  'a property is missing': [/^ *readonly SCHED_RR: number;\n/m, ''],
  'a setting is missing': [/^ *windowsHide\?.*\n/m, ''],
  'an event is missing': [/^ *online: \[\];\n/m, ''],
  'a method of workers is missing': [/^ *isDead\(\): boolean;\n/m, ''],
  'a result is another': ['isConnected(): boolean;', 'isConnected(): number;'],
  'a parameter is required': ['fork(env?: any): Worker;', 'fork(env: string): Worker;'],
  'a parameter is another': [
    'kill(signal?: string): void;\n\n  /** The same',
    "kill(signal?: 'SIGTERM'): void;\n\n  /** The same",
  ],
  'a setting is another': ['cwd?: string | undefined;', 'cwd?: number | undefined;'],
  'a setting is required': ['silent?: boolean | undefined;', 'silent: boolean;'],
  'a property is another': ['readonly isMaster: boolean;', 'readonly isMaster: string;'],
  'the policy cannot be set': ['  schedulingPolicy: number;', '  readonly schedulingPolicy: number;'],
  'an argument of an event is another': [
    'listening: [worker: Worker, address: Address];',
    'listening: [worker: Worker, port: number];',
  ],
  'any event of a supervisor passes': [
    '  on<E extends keyof SupervisorEventMap>(event: E, listener: Listener<SupervisorEventMap[E]>): this;\n',
    '  on(event: string, listener: (...args: any[]) => void): this;\n',
  ],
  'any option of supervise() passes': ['  startUpLimit?: number | undefined;\n', '  [name: string]: any;\n'],
  'the address is another': ['  port: number;\n  /** 4 or', '  port: string;\n  /** 4 or'],
};

/**
 * Compiles the type tests against several declarations at once, because the start of the compiler takes most of the time.
 * @param {Record<string, Record<string, string>>} variants the files of declarations by folder
 * @returns {Record<string, string[]>} the errors, by the same
 */
function compile(variants) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-types-'));
  try {
    fs.symlinkSync(path.join(ROOT, 'node_modules'), path.join(folder, 'node_modules'));
    const { compilerOptions } = JSON.parse(fs.readFileSync(path.join(ROOT, 'tsconfig.json'), 'utf8'));
    fs.writeFileSync(path.join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions }));
    // Each is a package that refers to itself by the name that the tests import.
    const { name, exports } = JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
    for (const [variant, declarations] of Object.entries(variants)) {
      const place = path.join(folder, variant);
      fs.cpSync(path.join(__dirname, 'types'), path.join(place, 'tests'), { recursive: true });
      fs.writeFileSync(path.join(place, 'package.json'), JSON.stringify({ name, exports }));
      fs.copyFileSync(path.join(ROOT, 'index.d.mts'), path.join(place, 'index.d.mts'));
      // The built-in's types are shared by everything that is compiled at once, so only one variant may add to them.
      if (variant === 'sound') {
        fs.copyFileSync(path.join(ROOT, 'register.d.ts'), path.join(place, 'register.d.ts'));
      } else {
        fs.writeFileSync(path.join(place, 'register.d.ts'), 'export {};\n');
        fs.rmSync(path.join(place, 'tests', 'register.ts'));
      }
      fs.mkdirSync(path.join(place, 'types'));
      for (const [name, text] of Object.entries(declarations)) fs.writeFileSync(path.join(place, name), text);
    }
    const manifest = require.resolve('typescript/package.json', { paths: [ROOT] });
    const { bin } = JSON.parse(fs.readFileSync(manifest, 'utf8'));
    const { stdout, error } = spawnSync(process.execPath, [path.join(path.dirname(manifest), bin.tsc)], {
      cwd: folder,
      encoding: 'utf8',
    });
    if (error) throw error;
    const lines = stdout.split('\n');
    return Object.fromEntries(
      Object.keys(variants).map((variant) => [
        variant,
        lines.filter((line) => line.startsWith(`${variant}/`)),
      ]),
    );
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

test('the types agree with the built-in, and the tests of that fail if one is broken', () => {
  const variants = { sound: DECLARATIONS };
  for (const [number, [name, [what, replacement]]] of Object.entries(SPOILT).entries()) {
    const spoilt = Object.entries(DECLARATIONS).map(([file, text]) => [
      file,
      text.replace(what, replacement),
    ]);
    const changed = spoilt.filter(([file, text]) => text !== DECLARATIONS[file]);
    assert.strictEqual(changed.length, 1, `${name}: it is still there to be spoilt, in one file`);
    variants[`spoilt${number}`] = Object.fromEntries(spoilt);
  }
  const errors = compile(variants);
  assert.deepStrictEqual(errors.sound, []);
  for (const [number, name] of Object.keys(SPOILT).entries()) {
    const found = errors[`spoilt${number}`].filter((line) => line.includes('/tests/'));
    assert.notDeepStrictEqual(found, [], `${name}: no test has noticed`);
  }
});

test('named imports agree with the types and with the module at run time', async () => {
  const types = fs.readFileSync(path.join(ROOT, 'index.d.mts'), 'utf8');
  const code = fs.readFileSync(path.join(ROOT, 'index.mjs'), 'utf8');
  const list = (/** @type {string} */ text) =>
    text.slice(text.indexOf('{') + 1, text.indexOf('}')).match(/[\w ]+(?=,)/g) ?? [];
  const names = list(code).map((name) => name.trim());
  const declared = list(types).map((name) => name.trim());
  assert.deepStrictEqual(
    declared.filter((name) => !name.startsWith('type ')),
    names,
  );
  // Node determines those of index.js. Some versions add one for the object itself.
  const there = Object.keys(await import('../../index.js')).filter((name) => name !== 'module.exports');
  assert.deepStrictEqual([...names].sort(), there.sort());

  // Two of them have the name of a class, which covers both.
  const inner = ['TypedEmitter', 'Arguments', 'Listener', 'WorkerConstructor', 'Worker', 'BroadcastChannel'];
  const interfaces = [...DECLARATIONS['index.d.ts'].matchAll(/^ {2}type (\w+)/gm)].map(([, name]) => name);
  assert.deepStrictEqual(
    declared.filter((name) => name.startsWith('type ')).map((name) => name.slice('type '.length)),
    interfaces.filter((name) => !inner.includes(name)).sort(),
  );

  // The entry point exports everything that the other files export.
  const exported = Object.values(DECLARATIONS).flatMap((text) =>
    [...text.matchAll(/^export (?:interface|type) (\w+)/gm)].map(([, name]) => name),
  );
  assert.deepStrictEqual(interfaces.toSorted(), exported.toSorted());
});

test('every option may be undefined, with exactOptionalPropertyTypes', () => {
  const strict = [];
  for (const [file, text] of Object.entries(DECLARATIONS)) {
    const interfaces = text.matchAll(
      /^export interface (\w*(?:Options|Source|SourceBase|Backend))\b.*?^\}/gms,
    );
    const literals = text.matchAll(/(options)\?: \{[^}]*\}/g);
    for (const [body, name] of [...interfaces, ...literals]) {
      // A type of several lines ends with a separate line.
      const members = body.replace(/\/\*\*.*?\*\//gs, '').matchAll(/\b(?!options\b)(\w+)\?:([^;{}]*)[;}]/g);
      for (const [, member, type] of members) {
        if (!/\| undefined\s*$/.test(type)) strict.push(`${file}: ${name}.${member}`);
      }
    }
  }
  assert.deepStrictEqual(strict, []);
});
