'use strict';

/**
 * Runs a benchmark script: an error of any kind is printed, sets the exit code and ends the started processes (see
 * app.js).
 * @param {() => Promise<void>} main
 */
function run(main) {
  main().then(
    () => process.exit(),
    (error) => {
      process.stderr.write(`${error.stack}\n`);
      process.exit(1);
    },
  );
}

module.exports = { run };
