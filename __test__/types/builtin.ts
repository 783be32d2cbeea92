// What can be done with the built-in's types can be done with these, and the other way round.

import builtin = require('node:cluster');
import type {
  Address as BuiltinAddress,
  Cluster as BuiltinCluster,
  ClusterSettings as BuiltinSettings,
  Worker as BuiltinWorker,
} from 'node:cluster';
import rcluster = require('rcluster');

// The methods of emitters return their object: where it is the built-in's, it has less than ours. So have its workers.
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

// The built-in's where ours is expected, but for what only ours has.
export const cluster2: Shared = builtinCluster;
export const worker2: SharedWorker = builtinWorker;
export const settings2: rcluster.ClusterSettings = builtinSettings;
export const address2: rcluster.Address = builtinAddress;

// Nothing of the built-in's object is missing.
type Missing = Exclude<keyof BuiltinCluster, keyof rcluster.Cluster>;
export const nothingMissing: [Missing] extends [never] ? true : Missing = true;

// The names that both modules export.
type Names = Exclude<keyof typeof builtin, 'default' | 'Worker' | keyof NodeJS.EventEmitter>;
type MissingNames = Exclude<Names, keyof typeof rcluster>;
export const noNameMissing: [MissingNames] extends [never] ? true : MissingNames = true;
