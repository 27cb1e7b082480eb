import { join } from 'node:path'
import { newApiKey } from './cli/keys.ts'
import { systemClock } from './clock.ts'
import { findFfmpeg } from './codecs/ffmpeg/binary.ts'
import { type Config, ConfigError, storeOptions } from './config.ts'
import type { FfmpegBinary } from './contracts/media.ts'
import { EventHub } from './events/hub.ts'
import { DeadLetterService } from './ingest/dead-letters.ts'
import { IdempotentUploads } from './ingest/idempotency.ts'
import { JobService } from './ingest/job-service.ts'
import { JobWatch } from './ingest/job-watch.ts'
import { MediaJobService } from './ingest/media-jobs.ts'
import { RecordAggregator } from './ingest/record-aggregator.ts'
import { RecordReader } from './ingest/record-reader.ts'
import { Retention } from './ingest/retention.ts'
import { SessionService } from './ingest/sessions.ts'
import { Spool } from './ingest/spool.ts'
import { UploadService } from './ingest/uploads.ts'
import { limits } from './limits.ts'
import type { Logger } from './log.ts'
import { MemoryService } from './memories/memories.ts'
import { MemorySearch } from './memories/memory-search.ts'
import { MemoryGauge } from './memory.ts'
import { createMetrics } from './metrics.ts'
import { Announcer } from './monitor/announcer.ts'
import { Health } from './monitor/health.ts'
import { KeyAnnouncer } from './monitor/key-announcer.ts'
import { TrafficMeter } from './monitor/traffic.ts'
import { Decoder } from './pool/decoder.ts'
import { MediaPool } from './pool/media-pool.ts'
import { type WorkerOptions, WorkerPool } from './pool/pool.ts'
import { type Store, type StoreFailure, scopes } from './store/interfaces.ts'
import { openStore } from './store/store.ts'
import { createTransport } from './transport/server.ts'

export interface RunningServer {
  /** `http://host:port` with the port that was bound. */
  readonly url: string
  /** No new work, open requests finish, subscribers are told, the store is closed. Idempotent. */
  close(): Promise<void>
}

export interface ServerOptions extends WorkerOptions {
  /** The store can promise nothing any more: the place to end the process before anything else runs. */
  readonly onStoreFailure?: (failure: StoreFailure) => void
}

type Stop = () => void | Promise<void>

/** The composition root: starts in order, closes in reverse. Throws where a part does not start. */
export async function startServer(
  config: Config,
  log: Logger,
  options: ServerOptions = {},
): Promise<RunningServer> {
  const stops: Stop[] = []
  try {
    const url = await startParts(config, log, options, stops)
    let closing: Promise<void> | null = null
    return {
      url,
      close: () => {
        closing ??= runAll(stops, log)
        return closing
      },
    }
  } catch (error) {
    await runAll(stops, log)
    throw error
  }
}

/** Starts every part, puts how to stop it in front of `stops`, and gives the URL. */
async function startParts(
  config: Config,
  log: Logger,
  options: ServerOptions,
  stops: Stop[],
): Promise<string> {
  const metrics = createMetrics()
  // Asks another process for its version, so meanwhile the rest starts.
  const findingFfmpeg = findFfmpeg(config.ffmpeg).catch((error: Error) => {
    throw new ConfigError(`ATOMSTREAM_FFMPEG: ${error.message}`)
  })
  findingFfmpeg.catch(() => undefined)
  const memoryBytesMax = config.memoryMaxMiB * 1024 * 1024
  metrics.memoryBytesMax.set(memoryBytesMax)
  const memory = new MemoryGauge({
    bytesMax: memoryBytesMax,
    onSample: (usedBytes) => metrics.memoryBytes.set(usedBytes),
  })
  stops.unshift(() => memory.close())
  const store = openStore(storeOptions(config))
  if (options.onStoreFailure !== undefined) store.onFailure(options.onStoreFailure)
  stops.unshift(() => store.close())
  await createFirstKey(store, config)
  const { workerFile, taskTimeoutMs } = options
  const pool = new WorkerPool({ workers: config.workers, log, workerFile, taskTimeoutMs })
  stops.unshift(() => pool.close())
  await pool.ready()
  const decoder = new Decoder(pool, config.workers)
  stops.unshift(() => decoder.close())
  const clock = systemClock
  const sessions = new SessionService({ store, pool, clock, log, metrics })
  stops.unshift(() => sessions.close())
  const idempotency = new IdempotentUploads({ store, clock })
  const uploads = new UploadService({ store, sessions, decoder, idempotency, clock, metrics, log })
  const deadLetters = new DeadLetterService({ store, pool, sessions, log })
  const records = new RecordReader({ store, pool })
  const aggregates = new RecordAggregator({ store, pool, workers: config.workers })
  const spool = await Spool.open({
    folder: join(config.dataDir, 'spool'),
    bytesMax: config.spoolBytesMax,
    fileBytesMax: config.mediaBytesMax,
  })
  stops.unshift(() => spool.close())
  const ffmpeg = await findingFfmpeg
  warnOfFfmpeg(ffmpeg, log)
  const mediaPool = new MediaPool()
  stops.unshift(() => mediaPool.close())
  const mediaJobs = new MediaJobService(
    { store, sessions, idempotency, spool, pool: mediaPool, clock, log, metrics },
    { ffmpeg, timeoutMs: config.mediaTimeoutS * 1_000 },
  )
  stops.unshift(() => mediaJobs.close())
  const jobs = new JobService({ store, sessions, mediaJobs })
  const jobWatch = new JobWatch(store, clock)
  stops.unshift(() => jobWatch.close())
  const hub = new EventHub(store)
  stops.unshift(() => hub.close())
  const search = new MemorySearch({ store, folder: join(config.dataDir, 'search'), log })
  stops.unshift(() => search.close())
  const memories = new MemoryService({ store, search, log })
  const traffic = new TrafficMeter(clock)
  const health = new Health({ store, memory, traffic, search: () => search.state, clock })
  const monitor = new Announcer({ store, health, traffic, clock, log })
  stops.unshift(() => monitor.close())
  const keyAnnouncer = new KeyAnnouncer({ store, clock, log })
  stops.unshift(() => keyAnnouncer.close())
  const transport = createTransport({
    config,
    log,
    metrics,
    store,
    sessions,
    uploads,
    records,
    aggregates,
    deadLetters,
    spool,
    mediaJobs,
    jobs,
    jobWatch,
    hub,
    memory,
    memories,
    monitor,
    traffic,
  })
  stops.unshift(() => transport.close(limits.closeTimeoutMs))
  // Before a client may write to the spool.
  await mediaJobs.recover()
  await keyAnnouncer.start()
  const { url } = await transport.listen(config.host, config.port)
  sessions.recover()
  search.start()
  const { retentionHours: hours, retentionBytes: bytes } = config
  const retention = new Retention({ store, clock, log, metrics }, { hours, bytes })
  stops.unshift(() => retention.close())
  retention.start()
  monitor.start()
  const { dataDir, workers } = config
  log.info({ url, dataDir, workers, ffmpeg: ffmpeg?.version ?? null }, 'listening')
  return url
}

/** Decoders are what strangers' files go through, so an old one is told of. */
function warnOfFfmpeg(ffmpeg: FfmpegBinary | null, log: Logger): void {
  if (ffmpeg === null) {
    log.warn('no ffmpeg was found: of media files only WAV is taken')
  } else if (ffmpeg.year !== null && ffmpeg.year < limits.ffmpegYearMin) {
    log.warn({ ...ffmpeg }, 'ffmpeg is an old build: install a newer one, or set ATOMSTREAM_FFMPEG')
  }
}

/** Every stop runs, even where one throws. */
async function runAll(stops: readonly Stop[], log: Logger): Promise<void> {
  for (const stop of stops) {
    try {
      await stop()
    } catch (error) {
      log.error({ err: error }, 'a part did not stop cleanly')
    }
  }
}

/** A store without any key gets one, printed once: only its digest is kept. */
async function createFirstKey(store: Store, config: Config): Promise<void> {
  if (config.apiKey !== null || store.apiKeys.list().length > 0) return
  const { key, row } = newApiKey({ tenant: 0, user: 'admin', scopes: [...scopes] })
  await store.commit((transaction) => transaction.putApiKey(row))
  process.stdout.write(`API key (shown once, keep it): ${key}\n`)
}
