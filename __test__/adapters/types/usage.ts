// The adapters have the types that their packages want. Checked by `tsc -p tsconfig.adapters.json`.

import cluster = require('rcluster');
import fastifyRateLimit = require('@fastify/rate-limit');
import express = require('express');
import session = require('express-session');
import { rateLimit, type Store } from 'express-rate-limit';
import fastify = require('fastify');
import { Keyv, type KeyvStoreAdapter } from 'keyv';
import { createCache } from 'cache-manager';
import { Cacheable } from 'cacheable';
import { Registry } from 'prom-client';
import { RateLimiterUnion, BurstyRateLimiter, RateLimiterMemory } from 'rate-limiter-flexible';
import { Server } from 'socket.io';
import { SessionStore } from 'rcluster/express-session';
import { RateLimitStore } from 'rcluster/express-rate-limit';
import { RateLimitStore as FastifyStore } from 'rcluster/fastify-rate-limit';
import { RateLimiterShared } from 'rcluster/rate-limiter-flexible';
import { KeyvShared } from 'rcluster/keyv';
import { ClusterRegistry } from 'rcluster/prom-client';
import { createAdapter } from 'rcluster/socket.io';

export async function use(): Promise<unknown[]> {
  const made: unknown[] = [];
  const store: cluster.SharedStore = cluster.shared('types');

  const sessions: session.Store = new SessionStore({ store, prefix: 's:', ttl: 1000 });
  express().use(session({ store: sessions, secret: 'secret' }));
  // @ts-expect-error There is no such option.
  made.push(new SessionStore({ prefixes: 's:' }));
  // @ts-expect-error A Map is no shared store.
  made.push(new SessionStore({ store: new Map() }));
  made.push(new SessionStore().touch('id', { cookie: new session.Cookie() }, (error) => void error));

  const limits: Store = new RateLimitStore({ store, prefix: 'r:' });
  express().use(rateLimit({ windowMs: 1000, limit: 1, store: limits }));
  // @ts-expect-error A prefix is text.
  made.push(new RateLimitStore({ prefix: 1 }));

  void fastify().register(fastifyRateLimit, { store: FastifyStore });
  void fastify().register(fastifyRateLimit, { store: FastifyStore.with({ store, prefix: 'f-' }) });
  // @ts-expect-error Options are given to with().
  made.push(new FastifyStore('prefix', store));

  const limiter = new RateLimiterShared({ points: 1, duration: 1, store });
  void new RateLimiterUnion(limiter, limiter).consume('key');
  void new BurstyRateLimiter(limiter, limiter).consume('key');
  made.push(
    new RateLimiterShared({
      points: 1,
      duration: 1,
      insuranceLimiter: new RateLimiterMemory({ points: 1, duration: 1 }),
    }),
  );
  const { msBeforeNext }: { msBeforeNext: number } = await limiter.consume('key');
  // @ts-expect-error It has a store of its own.
  made.push(new RateLimiterShared({ points: 1, duration: 1, storeClient: store }));
  // @ts-expect-error Points are required.
  made.push(new RateLimiterShared({ duration: 1 }));

  const adapter: KeyvStoreAdapter = new KeyvShared({ store, namespace: 'n' });
  const keyv = new Keyv({ store: adapter });
  createCache({ stores: [keyv] });
  made.push(new Cacheable({ primary: keyv }));
  for await (const [key, value] of new KeyvShared().iterator()) void [key, value];

  const metrics = new ClusterRegistry({ store, registry: new Registry(), interval: 1, timeout: 1 });
  const text: string = (await metrics.metrics()) + metrics.contentType;
  const collected: Registry<any> = await metrics.collect();
  await metrics.close();
  // @ts-expect-error Times are numbers.
  made.push(new ClusterRegistry({ interval: '1s' }));

  made.push(new Server({ adapter: createAdapter({ prefix: 'chat' }) }));
  // @ts-expect-error There are no heartbeats.
  createAdapter({ heartbeatInterval: 1 });

  return [made, collected, msBeforeNext, text];
}
