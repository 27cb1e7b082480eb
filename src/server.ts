import { newApiKey } from './cli/keys.ts'
import { type Config, storeOptions } from './config.ts'
import { EventHub } from './events/hub.ts'
import { RecordReader } from './ingest/record-reader.ts'
import { SessionService } from './ingest/sessions.ts'
import { UploadService } from './ingest/uploads.ts'
import { limits } from './limits.ts'
import type { Logger } from './log.ts'
import { createMetrics } from './metrics.ts'
import { Decoder } from './pool/decoder.ts'
import { WorkerPool } from './pool/pool.ts'
import { type Store, scopes } from './store/interfaces.ts'
import { openStore } from './store/store.ts'
import { createTransport } from './transport/server.ts'

export interface RunningServer {
  /** `http://host:port` with the port that was bound. */
  readonly url: string
  /** No new work, open requests finish, subscribers are told, the store is closed. Idempotent. */
  close(): Promise<void>
}

/** The composition root: starts in order, closes in reverse. Throws where a part does not start. */
export async function startServer(config: Config, log: Logger): Promise<RunningServer> {
  const metrics = createMetrics()
  const store = openStore(storeOptions(config))
  await createFirstKey(store, config)
  const pool = new WorkerPool({ workers: config.workers, log })
  await pool.ready()
  const decoder = new Decoder(pool, config.workers)
  const sessions = new SessionService({ store, pool, log, metrics })
  const uploads = new UploadService({ sessions, decoder, store, metrics, log })
  const records = new RecordReader({ store, pool })
  const hub = new EventHub(store)
  const transport = createTransport({
    config,
    log,
    metrics,
    store,
    sessions,
    uploads,
    records,
    hub,
  })
  sessions.recover()
  const { port } = await transport.listen(config.host, config.port)
  const url = `http://${config.host.includes(':') ? `[${config.host}]` : config.host}:${port}`
  log.info({ url, dataDir: config.dataDir, workers: config.workers }, 'listening')

  let closing: Promise<void> | null = null
  const stops: readonly (() => void | Promise<void>)[] = [
    () => transport.close(limits.closeTimeoutMs),
    () => sessions.close(),
    () => hub.close(),
    () => decoder.close(),
    () => pool.close(),
    () => store.close(),
  ]
  return {
    url,
    close: () => {
      closing ??= runAll(stops, log)
      return closing
    },
  }
}

/** Every stop runs, even where one throws. */
async function runAll(stops: readonly (() => void | Promise<void>)[], log: Logger): Promise<void> {
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
