// A whole app in TypeScript: the types are stripped at load time, by Node itself or by tsx.

import cluster from 'node:cluster';
import type { Worker } from 'node:cluster';
import http from 'node:http';

interface Command {
  command: 'disconnect' | 'stop';
}

const mark = (name: string, data?: unknown): void => {
  process.send?.({ mark: name, data });
};

if (cluster.isPrimary) {
  mark('subject', { isOurs: 'availableParallelism' in cluster, execArgv: process.execArgv });
  const started: Worker[] = [cluster.fork(), cluster.fork()];
  for (const worker of started) {
    worker.on('listening', ({ port }: { port: number }) =>
      mark('listening', { port, pid: worker.process.pid }),
    );
    worker.on('exit', (code: number, signal: string) => mark('exit', { code, signal }));
  }
  process.on('message', ({ command }: Command) => {
    if (command === 'stop') process.exit(0);
    cluster.disconnect();
  });
} else {
  http.createServer((_request, response) => response.end(String(process.pid))).listen(0, '127.0.0.1');
}
