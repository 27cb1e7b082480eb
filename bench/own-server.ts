import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { LoadProcess } from './load-process.ts'
import type { MediaBench } from './media.ts'
import type { RunResult, RunSpec } from './messages.ts'
import { ServerProcess } from './server-process.ts'

/** A server that nothing else has written to, and the load process that alone writes to it. */
export interface OwnServer {
  readonly server: ServerProcess
  readonly dataDir: string
  run(spec: RunSpec): Promise<RunResult>
}

/**
 * Starts both, and removes what they leave behind, also when the bench is interrupted. A load
 * process of its own begins with record 0 again: the distinct records of one would not last for
 * all tables. Rejects where the server cannot be started, dies or does not stop.
 */
export async function withOwnServer<T>(
  bench: MediaBench,
  name: string,
  env: Readonly<Record<string, string>>,
  use: (own: OwnServer) => Promise<T>,
): Promise<T> {
  const { folder, apiKey, signal } = bench
  const dataDir = join(folder, name)
  const server = await ServerProcess.start({ dataDir, apiKey, command: 'node', env }, signal)
  const load = new LoadProcess()
  const interrupt = () => void load.close()
  signal.addEventListener('abort', interrupt, { once: true })
  try {
    signal.throwIfAborted()
    bench.memory.watch(name, server)
    return await use({
      server,
      dataDir,
      run: (spec) => load.ask({ kind: 'run', baseUrl: server.url, apiKey, run: spec }),
    })
  } finally {
    signal.removeEventListener('abort', interrupt)
    await load.close()
    await server.stop()
    // The next table shall find the disk as this one did.
    rmSync(dataDir, { recursive: true, force: true })
  }
}
