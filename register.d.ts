// With `rcluster/register` the app's own `cluster` is rcluster: the built-in module gets the members that rcluster adds, in
// the primary and in workers. `Cluster` in types/cluster.d.ts says which of them only the primary has.
//
//   import 'rcluster/register';
//   import cluster from 'node:cluster';
//
// If it is loaded by an option (`node -r rcluster/register app.js`), `"types": ["node", "rcluster/register"]` in
// tsconfig.json does the same for the types.

import rcluster = require('./index');

declare module 'cluster' {
  interface ClusterSettings extends Pick<
    rcluster.ClusterSettings,
    Exclude<keyof rcluster.ClusterSettings, Builtin>
  > {}

  interface Cluster extends Pick<
    rcluster.Cluster,
    | 'SCHED_LEAST_CONNECTIONS'
    | 'SCHED_LEAST_LOADED'
    | 'SCHED_STICKY'
    | 'SCHED_KERNEL'
    | 'SCHED_HOOK'
    | 'supervise'
    | 'availableParallelism'
    | 'forwarding'
    | 'schedule'
    | 'schedulingStats'
    | 'stickyId'
    | 'shared'
    | 'locks'
    | 'lead'
    | 'BroadcastChannel'
    | 'handle'
    | 'request'
    | 'notify'
  > {}

  interface Worker extends Pick<rcluster.Worker, 'slot' | 'retire' | 'ready'> {}
}

/** The settings that the built-in declares itself. */
type Builtin =
  | 'execArgv'
  | 'exec'
  | 'args'
  | 'cwd'
  | 'serialization'
  | 'silent'
  | 'stdio'
  | 'uid'
  | 'gid'
  | 'inspectPort'
  | 'windowsHide';
