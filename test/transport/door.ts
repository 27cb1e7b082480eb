import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { connect, type Socket } from 'node:net'
import type { TestContext } from 'node:test'
import { Type } from '@sinclair/typebox'
import { newApiKey } from '../../src/cli/keys.ts'
import { systemClock } from '../../src/clock.ts'
import { type Config, loadConfig } from '../../src/config.ts'
import { IdempotentUploads } from '../../src/ingest/idempotency.ts'
import { JobService } from '../../src/ingest/job-service.ts'
import { JobWatch } from '../../src/ingest/job-watch.ts'
import { MediaJobService } from '../../src/ingest/media-jobs.ts'
import { Spool, type SpoolOptions } from '../../src/ingest/spool.ts'
import { createLogger } from '../../src/log.ts'
import { MemoryService } from '../../src/memories/memories.ts'
import { MemorySearch } from '../../src/memories/memory-search.ts'
import { MemoryGauge, type MemoryGaugeOptions } from '../../src/memory.ts'
import { createMetrics } from '../../src/metrics.ts'
import { Announcer } from '../../src/monitor/announcer.ts'
import { Health } from '../../src/monitor/health.ts'
import { TrafficMeter } from '../../src/monitor/traffic.ts'
import { MediaPool } from '../../src/pool/media-pool.ts'
import type { Scope, Store } from '../../src/store/interfaces.ts'
import type { StreamTimes } from '../../src/transport/event-streams.ts'
import { Reply, type Route, route } from '../../src/transport/route.ts'
import { createTransport } from '../../src/transport/server.ts'
import { openIngest } from '../support/ingest.ts'
import { within } from '../support/waiting.ts'

export const ownKey = 'test-key-0123456789abcdef'

/** The front door on a free port, over a real store and real workers. */
export async function openDoor(
  t: TestContext,
  options: {
    config?: Partial<Config>
    routes?: readonly Route[]
    workerFile?: URL
    memory?: Partial<MemoryGaugeOptions>
    spool?: Partial<SpoolOptions>
    /** Starts the thread that searches memories, which takes a while. */
    searches?: boolean
    times?: Partial<StreamTimes>
  } = {},
) {
  const { workerFile } = options
  // Before the store is closed, which whoever comes first in `t` does.
  const stops: (() => Promise<void>)[] = []
  t.after(async () => {
    for (const stop of stops) await stop()
  })
  const ingest = await openIngest(t, workerFile === undefined ? {} : { workerFile })
  const config: Config = {
    ...loadConfig([], { ATOMSTREAM_API_KEY: ownKey, ATOMSTREAM_RATE_LIMIT: '0' }),
    ...options.config,
  }
  const { store, sessions, uploads, records, aggregates, deadLetters, hub } = ingest
  const lines: string[] = []
  const log = createLogger('debug', { write: (line: string) => void lines.push(line) })
  const metrics = createMetrics()
  const memory = new MemoryGauge({ bytesMax: config.memoryMaxMiB * 1024 * 1024, ...options.memory })
  t.after(() => memory.close())
  const folder = `${ingest.path}-spool`
  const spool = await Spool.open({
    folder,
    bytesMax: config.spoolBytesMax,
    fileBytesMax: config.mediaBytesMax,
    ...options.spool,
  })
  const idempotency = new IdempotentUploads({ store, clock: systemClock })
  const pool = new MediaPool()
  const mediaJobs = new MediaJobService(
    { store, sessions, idempotency, spool, pool, clock: systemClock, log, metrics },
    // WAV files are cut without it.
    { ffmpeg: null, timeoutMs: config.mediaTimeoutS * 1_000 },
  )
  const jobs = new JobService({ store, sessions, mediaJobs })
  const jobWatch = new JobWatch(store, systemClock)
  const parts = {
    ...{ config, log, metrics, store, sessions, uploads },
    ...{ records, aggregates, deadLetters, hub },
  }
  const traffic = new TrafficMeter(systemClock)
  const search = new MemorySearch({ store, folder: `${ingest.path}-search`, log })
  if (options.searches === true) search.start()
  const memories = new MemoryService({ store, search, log })
  // Also where it is not started: the health of a door does not hang on it.
  const searchState = () => 'ready' as const
  const health = new Health({ store, memory, traffic, search: searchState, clock: systemClock })
  const monitor = new Announcer({ store, health, traffic, clock: systemClock, log })
  t.after(() => monitor.close())
  const services = {
    ...parts,
    memory,
    spool,
    mediaJobs,
    jobs,
    jobWatch,
    memories,
    monitor,
    traffic,
  }
  const transport = createTransport(services, options.routes, options.times)
  const { port } = await transport.listen('127.0.0.1', 0)
  stops.push(async () => {
    await transport.close(1_000)
    await search.close()
    await mediaJobs.close()
    await pool.close()
    await spool.close()
    await rm(folder, { recursive: true, force: true })
  })
  return {
    ...ingest,
    transport,
    spool,
    jobWatch,
    metrics,
    port,
    url: `http://127.0.0.1:${port}`,
    lines,
  }
}

/** A stored key, as the command line makes it. */
export async function addKey(store: Store, tenant: number, scopes: Scope[]) {
  const made = newApiKey({ tenant, user: 'tester', scopes })
  await store.commit((transaction) => transaction.putApiKey(made.row))
  return made
}

export function bearer(key: string = ownKey): { Authorization: string } {
  return { Authorization: `Bearer ${key}` }
}

/** A TCP connection that speaks bytes, for what no HTTP client would send. */
export class RawConnection {
  received = ''
  readonly closed: Promise<unknown>

  constructor(readonly socket: Socket) {
    socket.setEncoding('latin1')
    socket.on('data', (chunk: string) => {
      this.received += chunk
    })
    socket.on('error', () => {})
    // A reset is an end too.
    this.closed = new Promise((resolve) => socket.once('close', resolve))
  }

  /** Waits until this many replies, or this text, have come. */
  async until(text: string, count = 1): Promise<string> {
    const arrived = (async () => {
      while (this.received.split(text).length - 1 < count) {
        if (this.socket.closed) break
        await Promise.race([once(this.socket, 'data'), this.closed])
      }
    })()
    await within(arrived, `${count} times ${JSON.stringify(text)} in ${this.received}`)
    return this.received
  }
}

export async function rawConnection(t: TestContext, port: number): Promise<RawConnection> {
  const socket = connect(port, '127.0.0.1')
  const connection = new RawConnection(socket)
  t.after(() => socket.destroy())
  await once(socket, 'connect')
  return connection
}

/** Routes that show what reached their handlers. */
export const echoRoutes: readonly Route[] = [
  route({
    method: 'POST',
    path: '/upload',
    summary: 'Tells what arrived',
    scope: 'ingest',
    body: 'upload',
    replies: { 200: Type.Unknown() },
    errors: [],
    handle: (_, { upload }) =>
      upload?.kind === 'bytes'
        ? {
            bytes: upload.byteLength,
            format: upload.format,
            gzip: upload.gzip,
            last: new Uint8Array(upload.buffer)[upload.byteLength - 1],
          }
        : null,
  }),
  route({
    method: 'POST',
    path: '/json',
    summary: 'Gives the body back',
    scope: 'sessions:write',
    body: Type.Object(
      {
        name: Type.Optional(Type.String({ maxLength: 5 })),
        nested: Type.Optional(Type.Object({ count: Type.Integer({ minimum: 0 }) })),
      },
      { additionalProperties: false },
    ),
    bodyOptional: true,
    replies: { 200: Type.Unknown() },
    errors: [],
    handle: ({ body }) => body,
  }),
  route({
    method: 'GET',
    path: '/things/:id',
    summary: 'Gives its input back',
    scope: 'sessions:read',
    params: Type.Object({ id: Type.String() }),
    query: Type.Object({
      limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 10 })),
      name: Type.Optional(Type.String()),
    }),
    replies: { 200: Type.Unknown() },
    errors: [],
    handle: ({ params, query }, { baseUrl }) => ({ ...params, ...query, baseUrl }),
  }),
  route({
    method: 'GET',
    path: '/broken',
    summary: 'Throws',
    scope: 'sessions:read',
    replies: {},
    errors: [],
    handle: () => {
      throw new Error('a secret of the inside')
    },
  }),
  route({
    method: 'GET',
    path: '/large',
    summary: 'Many bytes',
    scope: 'sessions:read',
    replies: { 200: 'application/octet-stream' },
    errors: [],
    handle: () =>
      new Reply(200, Buffer.alloc(20_000_000, 'abcdefghij'), {
        'Content-Type': 'application/octet-stream',
      }),
  }),
]
