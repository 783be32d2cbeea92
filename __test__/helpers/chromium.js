'use strict';

// A page in a headless Chromium, controlled over pipes with its debugging protocol.

const { spawn, spawnSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { until } = require('../../testing/processes.js');

const PROGRAM = ['chromium', 'chromium-browser', 'google-chrome'].find(
  (name) => spawnSync(name, ['--version']).error === undefined,
);

/** Why it cannot be tested here; false if it can. */
const withoutChromium = PROGRAM === undefined && 'there is no chromium';

const OPTIONS = [
  '--headless=new',
  '--remote-debugging-pipe',
  // The page is our own, and root has no sandbox.
  '--no-sandbox',
  '--disable-gpu',
  '--disable-dev-shm-usage',
  '--disable-extensions',
  '--disable-background-networking',
  '--disable-component-update',
  '--no-first-run',
  '--force-device-scale-factor=1',
];

/**
 * Opens a page for as long as the body takes.
 * @template T
 * @param {string} url
 * @param {(page: Page) => Promise<T>} body
 * @returns {Promise<T>}
 */
async function withPage(url, body) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-chromium-'));
  const child = spawn(PROGRAM, [...OPTIONS, `--user-data-dir=${directory}`, 'about:blank'], {
    stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'],
    // Killed, it leaves its temporary files.
    env: { ...process.env, TMPDIR: directory },
    detached: true,
  });
  const closed = once(child, 'close');
  const protocol = new Protocol(child);
  try {
    return await body(await Page.open(protocol, url));
  } finally {
    // Its processes are a group.
    process.kill(-child.pid, 'SIGKILL');
    await closed;
    fs.rmSync(directory, { recursive: true, force: true, maxRetries: 10 });
  }
}

/** Messages in both directions end with a NUL. */
class Protocol {
  #to;
  #next = 1;
  /** @type {Map<number, { resolve: (result: any) => void, reject: (error: Error) => void }>} */
  #asked = new Map();
  /** @type {{ method: string, params: any }[]} */
  events = [];

  /** @param {import('node:child_process').ChildProcess} child */
  constructor(child) {
    const [, , , to, from] = /** @type {any[]} */ (child.stdio);
    this.#to = to;
    let rest = '';
    from.setEncoding('utf8').on('data', (/** @type {string} */ piece) => {
      const messages = (rest + piece).split('\0');
      rest = messages.pop();
      for (const message of messages) this.#on(JSON.parse(message));
    });
    to.on('error', () => {});
    child.on('close', () => {
      for (const { reject } of this.#asked.values()) reject(new Error('chromium has ended'));
    });
  }

  #on({ id, result, error, method, params }) {
    if (id === undefined) return void this.events.push({ method, params });
    const { resolve, reject } = this.#asked.get(id);
    this.#asked.delete(id);
    if (error) reject(new Error(error.message));
    else resolve(result);
  }

  /** @param {string} method @param {object} [params] @param {string} [sessionId] @returns {Promise<any>} */
  ask(method, params = {}, sessionId = undefined) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#asked.set(id, { resolve, reject });
      this.#to.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }
}

class Page {
  #protocol;
  #session;

  /** @param {Protocol} protocol @param {string} session */
  constructor(protocol, session) {
    this.#protocol = protocol;
    this.#session = session;
  }

  /** @param {Protocol} protocol @param {string} url */
  static async open(protocol, url) {
    const { targetId } = await protocol.ask('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await protocol.ask('Target.attachToTarget', { targetId, flatten: true });
    const page = new Page(protocol, sessionId);
    for (const domain of ['Page', 'Runtime', 'Log', 'Network']) await page.ask(`${domain}.enable`);
    await page.ask('Page.navigate', { url });
    await page.waitFor(
      'it is loaded',
      `location.href !== 'about:blank' && document.readyState === 'complete'`,
    );
    return page;
  }

  /** @param {string} method @param {object} [params] */
  ask(method, params) {
    return this.#protocol.ask(method, params, this.#session);
  }

  /** The problems of the page: exceptions, and violations of its own policies. */
  get failures() {
    const isFailure = ({ method, params }) =>
      method === 'Runtime.exceptionThrown' || (method === 'Log.entryAdded' && params.entry.level === 'error');
    return this.#protocol.events.filter(isFailure).map(({ params }) => params);
  }

  /** The addresses that it has loaded. */
  get requests() {
    const sent = this.#protocol.events.filter(({ method }) => method === 'Network.requestWillBeSent');
    return sent.map(({ params }) => params.request.url);
  }

  /** @param {string} expression @returns {Promise<any>} */
  async evaluate(expression) {
    const { result, exceptionDetails } = await this.ask('Runtime.evaluate', {
      expression,
      returnByValue: true,
    });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** @param {string} what @param {string} expression @returns {Promise<any>} its first truthy value */
  waitFor(what, expression) {
    return until(what, () => this.evaluate(expression));
  }

  /** @param {number} width @param {number} height @param {'light' | 'dark'} scheme */
  async resize(width, height, scheme) {
    const metrics = { width, height, deviceScaleFactor: 1, mobile: width < 600 };
    await this.ask('Emulation.setDeviceMetricsOverride', metrics);
    await this.ask('Emulation.setEmulatedMedia', {
      features: [{ name: 'prefers-color-scheme', value: scheme }],
    });
  }

  /** @returns {Promise<Buffer>} as PNG */
  async screenshot() {
    const { data } = await this.ask('Page.captureScreenshot', { format: 'png' });
    return Buffer.from(data, 'base64');
  }
}

module.exports = { withPage, withoutChromium };
