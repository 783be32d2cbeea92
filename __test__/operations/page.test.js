'use strict';

// The live page in a browser: its content, its updates, and that nothing can be injected into it. With
// RCLUSTER_WRITE=1 it creates the pictures of the documentation.

const assert = require('node:assert');
const { createHash } = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { connect } = require('../../control.js');
const { isBuiltin } = require('../../testing/subject.js');
const { withSupervised } = require('../../testing/supervised.js');
const { withPage, withoutChromium } = require('../helpers/chromium.js');

const skip = (isBuiltin && 'the built-in does not supervise') || withoutChromium;
const PICTURES = path.join(__dirname, '..', '..', 'docs');

/**
 * @param {{ workers: number } & Record<string, unknown>} options
 * @param {(app: import('../../testing/supervised.js').Supervised, url: string, client: import('../../control.js').ControlClient) => Promise<void>} body
 */
async function withUrl(options, body) {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'rcluster-page-'));
  const control = path.join(directory, 'control.sock');
  try {
    await withSupervised({ ...options, control, metrics: 0 }, async (app) => {
      const client = await connect({ control });
      const { metrics } = /** @type {any} */ (await client.status());
      await body(app, `http://${metrics}/`, client).finally(() => client.close());
    });
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}

/** The texts of the cells of a row. */
const cells = (/** @type {number} */ row) =>
  `[...(document.querySelectorAll('#slots tr')[${row}]?.cells ?? [])].map(({ innerText }) => innerText)`;

test(
  'its security policy allows exactly its own script and style',
  { skip: isBuiltin && 'the built-in does not supervise' },
  () =>
    withUrl({ workers: 1 }, async (_app, url) => {
      const response = await fetch(url);
      const [html, rules] = [await response.text(), response.headers.get('content-security-policy')];
      assert.strictEqual(response.headers.get('content-type'), 'text/html; charset=utf-8');
      for (const kind of ['script', 'style']) {
        const [, text] = new RegExp(`<${kind}>([^]*?)</${kind}>`).exec(html);
        const hash = createHash('sha256').update(text).digest('base64');
        assert.match(rules, new RegExp(`(^|; )${kind}-src 'sha256-${hash.replace(/[+/]/g, '\\$&')}'(;|$)`));
      }
      assert.match(rules, /^default-src 'none';/);
    }),
);

test('it shows the cluster and its changes', { skip }, () =>
  withUrl({ workers: 2 }, (app, url, client) =>
    withPage(url, async (page) => {
      await page.waitFor(
        'it is connected',
        `document.getElementById('connection').textContent === 'connected'`,
      );
      await page.waitFor('the slots are there', `document.querySelectorAll('#slots tr').length === 2`);
      for (const [slot, { pid }] of app.workers.entries()) {
        const [number, shown, state] = await page.evaluate(cells(slot));
        assert.deepStrictEqual([number, shown, state], [`${slot}`, `${pid}`, 'serving']);
      }
      assert.match(
        await page.evaluate(`document.getElementById('about').textContent`),
        new RegExp(`pid ${app.pid},`),
      );
      const listeners = await page.evaluate(`document.getElementById('listeners').innerText`);
      assert.match(listeners, new RegExp(`^127\\.0\\.0\\.1:${app.target.port}\\s+round-robin`));
      await page.waitFor(
        'an event loop has a line',
        `document.querySelector('#slots polyline').getAttribute('points')`,
      );

      await client.restart(1);
      await page.waitFor(
        'the event is there',
        `/ready .*slot=1/.test(document.getElementById('events').innerText)`,
      );
      await page.waitFor(
        'another worker is there',
        `${cells(1)}[1] !== '${app.workers[1].pid}' && ${cells(1)}[2] === 'serving'`,
      );
      await client.scale('+1');
      await page.waitFor('a third slot is there', `document.querySelectorAll('#slots tr').length === 3`);
      assert.deepStrictEqual(page.failures, []);
      const foreign = page.requests.filter(
        (request) => !request.startsWith(url) && !request.startsWith('data:'),
      );
      assert.deepStrictEqual(foreign, [], 'nothing is loaded from elsewhere');

      app.child.kill('SIGKILL');
      await page.waitFor(
        'the end is told',
        `/not connected/.test(document.getElementById('connection').textContent)`,
      );
    }),
  ),
);

test('strings of the cluster are shown as text, and the page runs no script but its own', { skip }, () =>
  withUrl({ workers: 1 }, (app, url) =>
    withPage(url, async (page) => {
      await page.waitFor('the slot is there', `document.querySelectorAll('#slots tr').length === 1`);
      const markup = '<img src=x onerror="document.title=1"><b>bold</b>';
      await page.evaluate(
        `onEvent({ event: ${JSON.stringify(markup)}, facts: { reason: ${JSON.stringify(markup)} } })`,
      );
      const event = `document.querySelector('#events li')`;
      assert.strictEqual(await page.evaluate(`${event}.querySelectorAll('img, b').length`), 0);
      assert.ok((await page.evaluate(`${event}.textContent`)).includes(markup));

      const inline = `
        const script = document.createElement('script');
        script.textContent = 'document.title = "changed"';
        document.body.append(script);
        document.title`;
      assert.strictEqual(
        await page.evaluate(`(() => {${inline.replace(/document\.title$/, 'return document.title')}})()`),
        'rcluster',
      );
      const outside = `fetch('http://127.0.0.1:9/').then(() => 'loaded', ({ message }) => message)`;
      const { result } = await page.ask('Runtime.evaluate', { expression: outside, awaitPromise: true });
      assert.notStrictEqual(result.value, 'loaded');
      assert.ok(
        page.failures.some(({ entry }) => /Content Security Policy/.test(entry?.text)),
        'its rules forbid both',
      );
    }),
  ),
);

test('everything has an accessible name, and it fits a phone, in light and in dark', { skip }, () =>
  withUrl({ workers: 2, unresponsiveAfter: 60_000 }, (app, url, client) =>
    withPage(url, async (page) => {
      await client.reload();
      await page.waitFor('the slots are there', `document.querySelectorAll('#slots tr').length === 2`);
      for (const scheme of /** @type {const} */ (['light', 'dark'])) {
        await page.resize(1200, 900, scheme);
        // So that the page shows some activity.
        for (let count = 0; count < 20; count++) await app.ask('busy/5');
        await client.restart(count(scheme));
        await page.waitFor('an event is there', `document.querySelectorAll('#events li').length > 0`);
        const dark = await page.evaluate(`matchMedia('(prefers-color-scheme: dark)').matches`);
        assert.strictEqual(dark, scheme === 'dark');
        assert.ok(
          (await page.evaluate(CONTRAST)).every(([, ratio]) => ratio >= 4.5),
          'all can be read',
        );
        if (process.env.RCLUSTER_WRITE) {
          fs.writeFileSync(path.join(PICTURES, `page-${scheme}.png`), await page.screenshot());
        }
        await page.resize(360, 740, scheme);
        const overflow = await page.evaluate(`document.documentElement.scrollWidth - innerWidth`);
        assert.ok(overflow <= 0, `${overflow} px too wide`);
      }
      const { nodes } = await page.ask('Accessibility.getFullAXTree');
      const unnamed = nodes.filter(
        ({ role, name, ignored }) =>
          !ignored &&
          ['region', 'log', 'heading', 'columnheader', 'rowheader'].includes(role?.value) &&
          !name?.value,
      );
      assert.deepStrictEqual(unnamed, []);
      assert.ok(
        nodes.some(({ role }) => role?.value === 'log') && nodes.some(({ role }) => role?.value === 'status'),
      );
      assert.strictEqual(await page.evaluate(`document.documentElement.lang`), 'en');
    }),
  ),
);

/** @param {'light' | 'dark'} scheme */
const count = (scheme) => (scheme === 'light' ? 0 : 1);

/** The contrast of each text with its background. */
const CONTRAST = `(() => {
  const channels = (text) => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
  const luminance = (colour) => {
    const [red, green, blue] = channels(colour).map((value) => {
      const part = value / 255;
      return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const { backgroundColor } = getComputedStyle(at);
      if (!/, 0\\)$|transparent/.test(backgroundColor)) return backgroundColor;
    }
    return 'rgb(255, 255, 255)';
  };
  const texts = [...document.body.querySelectorAll('*')].filter((element) =>
    [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim()) && element.tagName !== 'SCRIPT');
  return texts.map((element) => {
    const [high, low] = [getComputedStyle(element).color, behind(element)].map(luminance).sort((a, b) => b - a);
    return [element.textContent.slice(0, 30), (high + 0.05) / (low + 0.05)];
  });
})()`;
