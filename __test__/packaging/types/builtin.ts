// Our types can be used in place of the built-in's, and vice versa.

import builtin = require('node:cluster');
import type {
  Address as BuiltinAddress,
  Cluster as BuiltinCluster,
  ClusterEventMap as BuiltinEvents,
  ClusterSettings as BuiltinSettings,
  Worker as BuiltinWorker,
  WorkerEventMap as BuiltinWorkerEvents,
} from 'node:cluster';
import rcluster = require('rcluster');

// The methods of emitters return their object: the built-in's has fewer members than ours. The same applies to its workers.
type Shared = Pick<
  rcluster.Cluster,
  Exclude<
    keyof rcluster.Cluster & keyof BuiltinCluster,
    keyof NodeJS.EventEmitter | 'fork' | 'worker' | 'workers' | 'Worker'
  >
>;
type SharedWorker = Pick<
  rcluster.Worker,
  Exclude<keyof rcluster.Worker & keyof BuiltinWorker, keyof NodeJS.EventEmitter | 'disconnect'>
>;

declare const ourCluster: rcluster.Cluster;
declare const ourWorker: rcluster.Worker;
declare const ourSettings: rcluster.ClusterSettings;
declare const ourAddress: rcluster.Address;
declare const builtinCluster: BuiltinCluster;
declare const builtinWorker: BuiltinWorker;
declare const builtinSettings: BuiltinSettings;
declare const builtinAddress: BuiltinAddress;

// Ours where the built-in's is expected.
export const cluster1: BuiltinCluster = ourCluster;
export const worker1: BuiltinWorker = ourWorker;
export const settings1: BuiltinSettings = ourSettings;
export const address1: BuiltinAddress = ourAddress;
export const construct1: new () => BuiltinWorker = ourCluster.Worker;

// The built-in's where ours is expected, without the members that only ours has.
export const cluster2: Shared = builtinCluster;
export const worker2: SharedWorker = builtinWorker;
export const settings2: rcluster.ClusterSettings = builtinSettings;
export const address2: rcluster.Address = builtinAddress;

// The modules themselves, limited to the exports of the built-in.
export const module1: Pick<typeof builtin, Names> = rcluster;
// Vice versa without workers, because the built-in's have fewer members.
export const module2: Pick<
  typeof rcluster,
  Exclude<Names, 'fork' | 'worker' | 'workers'> & keyof typeof rcluster
> = builtin;

// The arguments of an event, with a worker of the built-in.
type OfBuiltinWorkers<Arguments> = Arguments extends [worker: rcluster.Worker, ...rest: infer Rest]
  ? [worker: BuiltinWorker, ...rest: Rest]
  : Arguments;

// The events and their arguments: a listener for ours fits the built-in's, and vice versa.
declare const ourEvents: rcluster.ClusterEventMap;
declare const ourWorkerEvents: rcluster.WorkerEventMap;
declare const builtinEvents: BuiltinEvents;
declare const builtinWorkerEvents: BuiltinWorkerEvents;
export const events1: BuiltinEvents = ourEvents;
export const events2: { [Name in keyof BuiltinEvents]: OfBuiltinWorkers<rcluster.ClusterEventMap[Name]> } =
  builtinEvents;
export const events3: BuiltinWorkerEvents = ourWorkerEvents;
export const events4: Pick<rcluster.WorkerEventMap, keyof BuiltinWorkerEvents> = builtinWorkerEvents;

// Nothing of the built-in's object is missing.
type Missing = Exclude<keyof BuiltinCluster, keyof rcluster.Cluster>;
export const nothingMissing: [Missing] extends [never] ? true : Missing = true;

// The same for optional members, which the types above do not require.
type MissingSettings = Exclude<keyof BuiltinSettings, keyof rcluster.ClusterSettings>;
export const noSettingMissing: [MissingSettings] extends [never] ? true : MissingSettings = true;

// Methods are compatible with others that take more parameters, so parameters are compared separately. Not
// with one generic type for all of them: where its arguments are compatible, the compiler does not look
// further.
declare const ourParameters: {
  kill: Parameters<rcluster.Worker['kill']>;
  destroy: Parameters<rcluster.Worker['destroy']>;
  fork: Parameters<typeof ourCluster.fork>;
  disconnect: Parameters<typeof ourCluster.disconnect>;
  setupPrimary: Parameters<typeof ourCluster.setupPrimary>;
  setupMaster: Parameters<typeof ourCluster.setupMaster>;
};
declare const builtinParameters: {
  kill: Parameters<BuiltinWorker['kill']>;
  destroy: Parameters<BuiltinWorker['destroy']>;
  fork: Parameters<typeof builtinCluster.fork>;
  disconnect: Parameters<typeof builtinCluster.disconnect>;
  setupPrimary: Parameters<typeof builtinCluster.setupPrimary>;
  setupMaster: Parameters<typeof builtinCluster.setupMaster>;
};
export const parameters1: typeof builtinParameters = ourParameters;
export const parameters2: typeof ourParameters = builtinParameters;

// The names that both modules export.
type Names = Exclude<keyof typeof builtin, 'default' | 'Worker' | keyof NodeJS.EventEmitter>;
type MissingNames = Exclude<Names, keyof typeof rcluster>;
export const noNameMissing: [MissingNames] extends [never] ? true : MissingNames = true;
