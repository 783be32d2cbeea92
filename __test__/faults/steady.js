'use strict';

const { now } = require('./clock.js');

/** What has not been sent for want of CPU is not made up for all at once, but only for so many ms. */
const LONGEST_STEP = 100;

/** Clients of any kind that come at a steady rate, until it is stopped. */
class SteadyClients {
  /** For how long at most, in ms, this process has not come round to sending. */
  lateness = 0;

  /**
   * @param {import('./clients.js').Clients} clients
   * @param {number} rate new clients in a second
   * @param {() => number | undefined} port where those go that are due; undefined if nobody is to come now
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
