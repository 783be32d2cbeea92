'use strict';

const http = require('node:http');
const { setTimeout: pause } = require('node:timers/promises');

/** How often, in ms, due requests are sent. */
const TICK = 10;

/**
 * HTTP requests at a steady rate, whatever the outcome of earlier ones: every second one on a kept
 * connection, the others on new ones. Each is counted.
 */
class HttpLoad {
  #agent = new http.Agent({ keepAlive: true, maxSockets: 32 });
  #stopped = false;
  /** @type {Promise<void>[]} */
  #requests = [];
  #sending;

  answered = 0;

  /** @type {Map<string, number>} the number of each outcome other than status 200 */
  failures = new Map();

  /**
   * @param {{ host: string, port: number }} target
   * @param {object} options
   * @param {number} options.rate requests per second
   * @param {(number: number) => string} [options.path] of the n-th request
   */
  constructor(target, { rate, path = () => '/who' }) {
    this.#sending = this.#send(target, rate, path);
  }

  async #send(target, rate, path) {
    const start = performance.now();
    let sent = 0;
    while (!this.#stopped) {
      const due = ((performance.now() - start) / 1000) * rate;
      for (; sent < due; sent++) {
        const agent = sent % 2 === 0 ? this.#agent : false;
        this.#requests.push(this.#request({ ...target, agent, path: path(sent) }));
      }
      await pause(TICK);
    }
  }

  /** @param {http.RequestOptions} options */
  #request(options) {
    return new Promise((resolve) => {
      const end = (/** @type {string | null} */ failure) => {
        if (failure === null) this.answered++;
        else this.failures.set(failure, (this.failures.get(failure) ?? 0) + 1);
        resolve();
      };
      const request = http.get(options, (response) => {
        response.on('end', () => end(response.statusCode === 200 ? null : String(response.statusCode)));
        response.on('error', (error) => end(`response: ${error.code ?? error.message}`));
        response.resume();
      });
      const kept = options.agent ? ' on a kept connection' : '';
      request.on('error', (error) =>
        end(
          `${/** @type {any} */ (error).code ?? error.message}${kept}${request.reusedSocket ? ', reused' : ''}`,
        ),
      );
    });
  }

  /** Waits for a number of further answers. */
  async answers(count) {
    const until = this.answered + count;
    while (this.answered < until) await pause(TICK);
  }

  /** @returns {Promise<Record<string, number>>} the failures, and how often */
  async stop() {
    this.#stopped = true;
    await this.#sending;
    await Promise.all(this.#requests);
    this.#agent.destroy();
    return Object.fromEntries(this.failures);
  }
}

module.exports = { HttpLoad };
