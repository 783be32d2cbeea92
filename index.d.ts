// The entry point. The types are in `types`, and each is exported by the module.

import clusterTypes = require('./types/cluster.js');
import exchangeTypes = require('./types/exchange.js');
import forwardTypes = require('./types/forward.js');
import schedulingTypes = require('./types/scheduling.js');
import locksTypes = require('./types/locks.js');
import sharedTypes = require('./types/shared.js');
import superviseTypes = require('./types/supervise.js');

/**
 * A drop-in replacement for Node's `cluster`: the same functions, events and settings, with supervision and the
 * distribution of connections on native threads.
 *
 * ```js
 * const cluster = require('rcluster');
 * const http = require('node:http');
 *
 * if (cluster.isPrimary) {
 *   cluster.supervise();
 * } else {
 *   http.createServer((request, response) => response.end(`worker ${cluster.worker.id}\n`)).listen(8000);
 * }
 * ```
 *
 * In a worker this object is the built-in one, so `require('cluster')` and `require('rcluster')` are the same there.
 *
 * On Linux, loading it throws `ERR_RCLUSTER_BINDING` in a primary whose installation lacks the native part or has one of
 * another version. Elsewhere it is the built-in module, and the primary emits one process warning with the
 * code `RCLUSTER_FALLBACK`.
 */
declare const cluster: cluster.Cluster;

declare namespace cluster {
  type ClusterSettings = clusterTypes.ClusterSettings;
  type Address = clusterTypes.Address;
  type WorkerEventMap = clusterTypes.WorkerEventMap;
  type ClusterEventMap = clusterTypes.ClusterEventMap;
  type TypedEmitter<Events> = clusterTypes.TypedEmitter<Events>;
  type Arguments<T> = clusterTypes.Arguments<T>;
  type Listener<T> = clusterTypes.Listener<T>;
  type WorkerOptions = clusterTypes.WorkerOptions;
  type WorkerConstructor = clusterTypes.WorkerConstructor;
  type Worker = clusterTypes.Worker;
  type Cluster = clusterTypes.Cluster;

  type SchedulingPolicy = schedulingTypes.SchedulingPolicy;
  type ListenerScheduling = schedulingTypes.ListenerScheduling;
  type Scheduling = schedulingTypes.Scheduling;
  type StickyOptions = schedulingTypes.StickyOptions;
  type ScheduleHook = schedulingTypes.ScheduleHook;
  type ScheduledConnection = schedulingTypes.ScheduledConnection;
  type ScheduleCandidate = schedulingTypes.ScheduleCandidate;
  type HookOptions = schedulingTypes.HookOptions;
  type OverloadOptions = schedulingTypes.OverloadOptions;
  type ConnectionCounts = schedulingTypes.ConnectionCounts;
  type SchedulingStats = schedulingTypes.SchedulingStats;

  type MessageTarget = exchangeTypes.MessageTarget;
  type RequestOptions = exchangeTypes.RequestOptions;
  type MachinesRequestOptions = exchangeTypes.MachinesRequestOptions;
  type NotifyOptions = exchangeTypes.NotifyOptions;
  type BroadcastChannelOptions = exchangeTypes.BroadcastChannelOptions;
  type MessageCall = exchangeTypes.MessageCall;
  type MessageHandler = exchangeTypes.MessageHandler;
  type HandleOptions = exchangeTypes.HandleOptions;
  type HandlerRegistration = exchangeTypes.HandlerRegistration;
  type ChannelMessageEvent = exchangeTypes.ChannelMessageEvent;
  type ChannelListenerOptions = exchangeTypes.ChannelListenerOptions;
  type LagEvent = exchangeTypes.LagEvent;
  type BroadcastChannelEventMap = exchangeTypes.BroadcastChannelEventMap;
  type BroadcastChannelConstructor = exchangeTypes.BroadcastChannelConstructor;
  type RequestResult<T = unknown> = exchangeTypes.RequestResult<T>;
  type MachinesRequestResult<T = unknown> = exchangeTypes.MachinesRequestResult<T>;
  type BroadcastChannel = exchangeTypes.BroadcastChannel;

  type LeadOptions = locksTypes.LeadOptions;
  type LockMode = locksTypes.LockMode;
  type LockOptions = locksTypes.LockOptions;
  type LockScope = locksTypes.LockScope;
  type Lock = locksTypes.Lock;
  type LeasedLock = locksTypes.LeasedLock;
  type LockInfo = locksTypes.LockInfo;
  type LockSnapshot = locksTypes.LockSnapshot;
  type Locks = locksTypes.Locks;
  type Leadership = locksTypes.Leadership;

  type SharedBackend = sharedTypes.SharedBackend;
  type SharedBackendStats = sharedTypes.SharedBackendStats;
  type SharedOptions = sharedTypes.SharedOptions;
  type SharedSetOptions = sharedTypes.SharedSetOptions;
  type SharedResult = sharedTypes.SharedResult;
  type SharedEntry<T = unknown> = sharedTypes.SharedEntry<T>;
  type SharedWatchOptions = sharedTypes.SharedWatchOptions;
  type SharedEvent<T = unknown> = sharedTypes.SharedEvent<T>;
  type SharedLoaded = sharedTypes.SharedLoaded;
  type SharedLoadSource = sharedTypes.SharedLoadSource;
  type SharedFileSource = sharedTypes.SharedFileSource;
  type SharedPollingSource = sharedTypes.SharedPollingSource;
  type SharedSourceBase = sharedTypes.SharedSourceBase;
  type SharedSource = sharedTypes.SharedSource;
  type SharedSourceStats = sharedTypes.SharedSourceStats;
  type PolledStore<V = any> = sharedTypes.PolledStore<V>;
  type SharedListener<T = any> = sharedTypes.SharedListener<T>;
  type SharedBatch<V = any> = sharedTypes.SharedBatch<V>;
  type SharedStore<V = any> = sharedTypes.SharedStore<V>;
  type SharedTally = sharedTypes.SharedTally;
  type SharedStats = sharedTypes.SharedStats;

  type ForwardOptions = forwardTypes.ForwardOptions;
  type Forwarding = forwardTypes.Forwarding;

  type RestartIntensity = superviseTypes.RestartIntensity;
  type SuperviseOptions = superviseTypes.SuperviseOptions;
  type SupervisorLogEvent = superviseTypes.SupervisorLogEvent;
  type AboutWorker = superviseTypes.AboutWorker;
  type AboutEnd = superviseTypes.AboutEnd;
  type SupervisorEventMap = superviseTypes.SupervisorEventMap;
  type SupervisorStats = superviseTypes.SupervisorStats;
  type Supervisor = superviseTypes.Supervisor;
}

export = cluster;
