'use strict';

const Koa = require('koa');

const app = new Koa();
app.use(async (context, next) => {
  await next();
  context.set('x-after', 'yes');
});
app.use(async (context) => {
  if (context.path === '/who') context.body = { pid: process.pid };
  else if (context.method === 'POST') context.body = context.req;
  else if (context.path === '/') context.body = 'Hello World!';
  else if (context.path === '/fails') context.throw(418, 'on purpose');
});
app.silent = true;
app.listen(0, '127.0.0.1');
