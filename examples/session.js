'use strict';

// A login that is valid in all workers. Needs the packages express and express-session.
//
//   PORT=3000 node examples/session.js
//   curl -c jar -b jar 'localhost:3000/login?name=ada'; curl -c jar -b jar localhost:3000

const express = require('express');
const session = require('express-session');
const cluster = require('rcluster');
const { SessionStore } = require('rcluster/express-session');

const { PORT = '3000', SECRET = 'only for this example' } = process.env;

if (cluster.isPrimary) {
  cluster.supervise({ workers: 2 });
} else {
  const app = express();
  app.use(
    session({
      store: new SessionStore({ store: cluster.shared('sessions', { size: '64MB' }) }),
      secret: SECRET,
      resave: false,
      saveUninitialized: false,
      cookie: { maxAge: 30 * 60_000 },
    }),
  );

  app.get('/login', (request, response) => {
    Object.assign(request.session, { name: `${request.query.name}` });
    response.send('welcome\n');
  });
  app.get('/logout', (request, response, next) => {
    request.session.destroy((error) => (error ? next(error) : response.send('goodbye\n')));
  });
  app.get('/', (request, response) => {
    const { name = 'nobody' } = /** @type {{ name?: string }} */ (/** @type {unknown} */ (request.session));
    response.send(`${name}, by worker ${cluster.worker?.id}\n`);
  });
  app.listen(Number(PORT));
}
