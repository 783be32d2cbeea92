'use strict';

const { now } = require('./clock.js');

/** The longest period, in ms, whose missed clients are sent later if CPU was lacking. */
const LONGEST_STEP = 100;

/** Clients of any kind at a steady rate, until it is stopped. */
class SteadyClients {
  /** The longest delay, in ms, of sending in this process. */
  lateness = 0;

  /**
   * @param {import('./clients.js').Clients} clients
   * @param {number} rate new clients in a second
   * @param {() => number | undefined} port the port for due clients; undefined if none should connect now
   */
  constructor(clients, rate, port) {
    let [last, due] = [now(), 0];
    this.timer = setInterval(() => {
      const passed = now() - last;
      last += passed;
      this.lateness = Math.max(this.lateness, passed);
      due += (Math.min(passed, LONGEST_STEP) * rate) / 1000;
      const to = port();
      if (to === undefined) due = 0;
      for (; due >= 1; due--) clients.startAny(to);
    }, 5);
  }

  stop() {
    clearInterval(this.timer);
  }
}

module.exports = { SteadyClients };
