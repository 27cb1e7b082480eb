import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

/** The session's type; bounded, as every label value here is. */
const byType = ['type'] as const

/**
 * The program's figures in a registry of their own, so that several servers can live in one
 * process. Label values are route patterns, statuses and session types, never what a client sent.
 */
export function createMetrics() {
  const registry = new Registry()
  collectDefaultMetrics({ register: registry, prefix: 'atomstream_' })
  const registers = [registry]
  return {
    registry,
    requests: new Counter({
      name: 'atomstream_http_requests_total',
      help: 'HTTP requests answered',
      labelNames: ['method', 'route', 'status'] as const,
      registers,
    }),
    requestSeconds: new Histogram({
      name: 'atomstream_http_request_seconds',
      help: 'From the head of a request to its reply',
      labelNames: ['route'] as const,
      buckets: [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30],
      registers,
    }),
    uploads: new Counter({
      name: 'atomstream_uploads_total',
      help: 'Uploads acknowledged, over HTTP and WebSocket',
      labelNames: byType,
      registers,
    }),
    records: new Counter({
      name: 'atomstream_records_total',
      help: 'Records, frames and buffers accepted',
      labelNames: byType,
      registers,
    }),
    rejected: new Counter({
      name: 'atomstream_rejected_records_total',
      help: 'Records, frames and buffers refused',
      labelNames: byType,
      registers,
    }),
    atoms: new Counter({
      name: 'atomstream_atoms_total',
      help: 'Atoms created',
      labelNames: byType,
      registers,
    }),
    batchFailures: new Counter({
      name: 'atomstream_batch_failures_total',
      help: 'Attempts at a batch that failed',
      labelNames: byType,
      registers,
    }),
    deadLetters: new Counter({
      name: 'atomstream_dead_letters_total',
      help: 'Batches that became dead letters',
      labelNames: byType,
      registers,
    }),
    mediaJobs: new Counter({
      name: 'atomstream_media_jobs_total',
      help: 'Jobs on files that have ended',
      labelNames: ['type', 'status'] as const,
      registers,
    }),
    mediaJobsOpen: new Gauge({
      name: 'atomstream_media_jobs_open',
      help: 'Jobs on files at work and waiting',
      labelNames: ['state'] as const,
      registers,
    }),
    spoolBytes: new Gauge({
      name: 'atomstream_spool_bytes',
      help: 'Bytes of uploaded files that wait for their jobs, announced ones included',
      registers,
    }),
    bytes: new Counter({
      name: 'atomstream_upload_bytes_total',
      help: 'Bytes of acknowledged uploads as they came over the wire',
      labelNames: byType,
      registers,
    }),
    bodiesInFlightBytes: new Gauge({
      name: 'atomstream_bodies_in_flight_bytes',
      help: 'Bytes of bodies being read, decoded or waiting',
      registers,
    }),
    decodeQueue: new Gauge({
      name: 'atomstream_decode_queue_uploads',
      help: 'Uploads waiting for a worker',
      registers,
    }),
    memoryBytes: new Gauge({
      name: 'atomstream_memory_bytes',
      help: 'Memory that the process itself takes (RssAnon where the system tells it)',
      registers,
    }),
    memoryBytesMax: new Gauge({
      name: 'atomstream_memory_max_bytes',
      help: 'Memory that the process may take',
      registers,
    }),
    subscribers: new Gauge({
      name: 'atomstream_subscribers',
      help: 'Open event streams and WebSockets',
      labelNames: ['kind'] as const,
      registers,
    }),
    heldBytes: new Gauge({
      name: 'atomstream_subscriber_held_bytes',
      help: 'Bytes that sockets of slow subscribers hold back',
      registers,
    }),
    retentionEvents: new Counter({
      name: 'atomstream_retention_events_total',
      help: 'Events that retention has dropped, with all that they told of',
      registers,
    }),
    storeBytes: new Gauge({
      name: 'atomstream_store_used_bytes',
      help: "Bytes of the store's file in use",
      registers,
    }),
    storeBytesMax: new Gauge({
      name: 'atomstream_store_max_bytes',
      help: 'Bytes that the store may use',
      registers,
    }),
    storeCommits: new Gauge({
      name: 'atomstream_store_commits',
      help: 'Transactions since the start of the process',
      registers,
    }),
    storeUnits: new Gauge({
      name: 'atomstream_store_units',
      help: 'Units of work in those transactions',
      registers,
    }),
  }
}

export type Metrics = ReturnType<typeof createMetrics>
