import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { type Clock, systemClock } from '../../src/clock.ts'
import type { UploadReply } from '../../src/contracts/http.ts'
import { type FfmpegBinary, type MediaType, mediaTypes } from '../../src/contracts/media.ts'
import { EventHub } from '../../src/events/hub.ts'
import { DeadLetterService } from '../../src/ingest/dead-letters.ts'
import { IdempotentUploads } from '../../src/ingest/idempotency.ts'
import { JobService } from '../../src/ingest/job-service.ts'
import { MediaJobService } from '../../src/ingest/media-jobs.ts'
import { RecordAggregator } from '../../src/ingest/record-aggregator.ts'
import { RecordReader } from '../../src/ingest/record-reader.ts'
import { SessionService } from '../../src/ingest/sessions.ts'
import { Spool } from '../../src/ingest/spool.ts'
import { UploadService } from '../../src/ingest/uploads.ts'
import { limits } from '../../src/limits.ts'
import { createLogger } from '../../src/log.ts'
import { createMetrics } from '../../src/metrics.ts'
import { Decoder } from '../../src/pool/decoder.ts'
import { MediaPool } from '../../src/pool/media-pool.ts'
import { WorkerPool } from '../../src/pool/pool.ts'
import type { JobRow, SessionRow } from '../../src/store/interfaces.ts'
import { openStore } from '../../src/store/store.ts'
import { testerOf } from './actors.ts'

export interface TestRecord {
  timestamp: string
  values: Record<string, number | string | boolean | null>
}

/** `count` records a second apart, each with a value of its own. */
export function testRecords(count: number, first = 0): TestRecord[] {
  return Array.from({ length: count }, (_, index) => ({
    timestamp: new Date(Date.UTC(2025, 0, 1) + (first + index) * 1000).toISOString(),
    values: { temperature: 20 + (first + index) / 1000 },
  }))
}

export function jsonBody(value: unknown): {
  buffer: ArrayBuffer
  byteLength: number
  format: 'json'
  gzip: false
} {
  const bytes = new TextEncoder().encode(JSON.stringify(value))
  return { buffer: bytes.buffer, byteLength: bytes.byteLength, format: 'json', gzip: false }
}

/** The ingest path without its front door: a real store in a temporary folder and real workers. */
export async function openIngest(
  t: TestContext,
  options: {
    path?: string
    maxBytes?: number
    clock?: Clock
    workerFile?: URL
    mediaFile?: URL
    ffmpeg?: FfmpegBinary | null
  } = {},
) {
  const path = options.path ?? (await mkdtemp(join(tmpdir(), 'atomstream-ingest-')))
  const clock = options.clock ?? systemClock
  const log = createLogger('silent')
  const metrics = createMetrics()
  const store = openStore({
    path,
    durability: 'flush',
    maxBytes: options.maxBytes ?? 1 << 30,
    exclusive: true,
    now: () => clock.now(),
  })
  const { workerFile } = options
  const pool = new WorkerPool({ workers: 2, ...(workerFile === undefined ? {} : { workerFile }) })
  const decoder = new Decoder(pool, 2)
  const sessions = new SessionService({ store, pool, clock, log, metrics })
  const idempotency = new IdempotentUploads({ store, clock })
  const uploads = new UploadService({ store, sessions, decoder, idempotency, clock, metrics, log })
  const deadLetters = new DeadLetterService({ store, pool, sessions, log })
  const records = new RecordReader({ store, pool })
  const aggregates = new RecordAggregator({ store, pool, workers: 2 })
  const hub = new EventHub(store)
  const spool = await Spool.open({
    folder: join(path, 'spool'),
    bytesMax: 1 << 30,
    fileBytesMax: 1 << 28,
  })
  const mediaPool = new MediaPool({ workerFile: options.mediaFile })
  const mediaJobs = new MediaJobService(
    { store, sessions, idempotency, spool, pool: mediaPool, clock, log, metrics },
    { ffmpeg: options.ffmpeg ?? null, timeoutMs: 1_000 * limits.mediaTimeoutSDefault },
  )
  const jobs = new JobService({ store, sessions, mediaJobs })
  let closed = false
  const close = async () => {
    if (closed) return
    closed = true
    await mediaJobs.close()
    await mediaPool.close()
    sessions.close()
    await spool.close()
    hub.close()
    await decoder.close()
    await pool.close()
    await store.close()
  }
  t.after(async () => {
    await close()
    await rm(path, { recursive: true, force: true })
  })
  return {
    path,
    store,
    pool,
    sessions,
    uploads,
    deadLetters,
    records,
    aggregates,
    hub,
    spool,
    mediaJobs,
    jobs,
    close,
    /** Uploads a JSON value; throws where the answer is a job. */
    upload: async (
      session: SessionRow,
      value: unknown,
      idempotencyKey: string | null = null,
    ): Promise<{ status: number; reply: UploadReply }> => {
      const answer = await uploads.upload(session, jsonBody(value), { idempotencyKey, asJob: null })
      if (answer.kind !== 'reply') throw new Error('a reply was expected, not a job')
      return answer
    },
    /** Spools bytes and has a job made of them. */
    uploadFile: async (
      session: SessionRow,
      bytes: Uint8Array,
      contentType: string,
    ): Promise<JobRow> => {
      const writer = spool.create(bytes.byteLength)
      writer.write(bytes)
      const answer = await mediaJobs.accept(session, {
        actor: testerOf(session.tenant),
        spooled: await writer.finish(),
        contentType,
        type: mediaTypes[contentType] as MediaType,
        beginsAtMs: 0,
        uploadMs: 1,
        arrivedAtMs: clock.now(),
        idempotencyKey: null,
      })
      if (answer.kind !== 'job') throw new Error('a job was expected')
      return jobs.find(session.tenant, answer.jobId)
    },
    /** The stored row as it is now. */
    row: (session: SessionRow): SessionRow => {
      const row = store.sessions.get(session.number)
      if (row === null) throw new Error('the session is gone')
      return row
    },
    /** All records of a session, read back page by page. */
    readAll: async (session: SessionRow, limit = 10_000): Promise<TestRecord[]> => {
      const all: TestRecord[] = []
      let cursor: string | null = null
      do {
        const page = await records.read(session, {
          fromMs: null,
          toMs: null,
          fields: null,
          limit,
          format: 'json',
          cursor,
        })
        const rows: (TestRecord & { address: string })[] = JSON.parse(
          `[${Buffer.from(page.bytes).toString('utf8')}]`,
        )
        all.push(...rows.map(({ timestamp, values }) => ({ timestamp, values })))
        cursor = page.nextCursor
      } while (cursor !== null)
      return all
    },
  }
}
