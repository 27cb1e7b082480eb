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

type Stop = () => void | Promise<void>

/** The composition root: starts in order, closes in reverse. Throws where a part does not start. */
export async function startServer(config: Config, log: Logger): Promise<RunningServer> {
  const stops: Stop[] = []
  try {
    const url = await startParts(config, log, stops)
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
async function startParts(config: Config, log: Logger, stops: Stop[]): Promise<string> {
  const metrics = createMetrics()
  const store = openStore(storeOptions(config))
  stops.unshift(() => store.close())
  await createFirstKey(store, config)
  const pool = new WorkerPool({ workers: config.workers, log })
  stops.unshift(() => pool.close())
  await pool.ready()
  const decoder = new Decoder(pool, config.workers)
  stops.unshift(() => decoder.close())
  const sessions = new SessionService({ store, pool, log, metrics })
  stops.unshift(() => sessions.close())
  const uploads = new UploadService({ sessions, decoder, store, metrics, log })
  const records = new RecordReader({ store, pool })
  const hub = new EventHub(store)
  stops.unshift(() => hub.close())
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
  stops.unshift(() => transport.close(limits.closeTimeoutMs))
  const { url } = await transport.listen(config.host, config.port)
  sessions.recover()
  log.info({ url, dataDir: config.dataDir, workers: config.workers }, 'listening')
  return url
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
