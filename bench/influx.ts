import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { freePort } from './ports.ts'

const run = promisify(execFile)

export interface InfluxProgram {
  readonly path: string
  /** As it tells it itself, and where it comes from. */
  readonly source: string
}

const name = 'influxd'
const debianPackage = 'influxdb'
const downloadTimeoutMs = 60_000
const startTimeoutMs = 15_000
const stopTimeoutMs = 10_000
const pollMs = 20

/**
 * InfluxDB 1.x as this machine has it; else Debian's package, unpacked into `folder`: nothing is
 * installed, so no service starts and no root is needed. A text where there is none, and why.
 */
export async function findInflux(
  folder: string,
  signal: AbortSignal,
): Promise<InfluxProgram | string> {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/usr/bin']
  const installed = folders.map((one) => join(one, name)).find(isProgram)
  if (installed !== undefined) return known(installed, 'installed')
  const root = join(folder, 'influxdb-package')
  mkdirSync(root, { recursive: true })
  try {
    const options = { cwd: root, timeout: downloadTimeoutMs, signal }
    await run('apt-get', ['download', debianPackage], options)
    for (const file of readdirSync(root).filter((one) => one.endsWith('.deb'))) {
      await run('dpkg', ['-x', join(root, file), root], options)
    }
    const unpacked = join(root, 'usr/bin', name)
    if (existsSync(unpacked)) return known(unpacked, 'unpacked from Debian’s package')
    return `the package holds no ${name}`
  } catch (error) {
    signal.throwIfAborted()
    const reason = (error as Error).message.split('\n')[0]
    return `there is no InfluxDB, and its package could not be had: ${reason}`
  }
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Only 1.x takes this configuration; the 2.x server has the same name. */
async function known(path: string, source: string): Promise<InfluxProgram | string> {
  const { stdout } = await run(path, ['version'])
  const version = /v?(\d+\.\d+[^\s]*)/.exec(stdout)?.[1] ?? 'unknown'
  if (!version.startsWith('1.')) return `the InfluxDB here is ${version}, not 1.x`
  return { path, source: `InfluxDB ${version} ${source}` }
}

/** InfluxDB as a child process on a loopback port of its own, its data in a new folder. */
export class InfluxServer {
  private constructor(
    private readonly child: ChildProcess,
    private readonly folder: string,
    readonly url: string,
  ) {}

  /** Resolves once it has a database; rejects with what it says where it does not start. */
  static async start(
    program: InfluxProgram,
    parent: string,
    signal: AbortSignal,
  ): Promise<InfluxServer> {
    const [port, otherPort] = [await freePort(), await freePort()]
    const folder = join(parent, `influxdb-${port}`)
    mkdirSync(folder)
    const configuration = join(folder, 'influxdb.conf')
    writeFileSync(configuration, configure(folder, port, otherPort))
    // Its settings come from the environment too, where those of the caller would change it.
    const inherited = Object.entries(process.env).filter(([key]) => !key.startsWith('INFLUXDB_'))
    const child = spawn(program.path, ['-config', configuration], {
      env: Object.fromEntries(inherited),
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    let errors = ''
    child.stderr.on('data', (chunk: Buffer) => {
      errors = `${errors}${chunk.toString()}`.slice(-2_000)
    })
    const server = new InfluxServer(child, folder, `http://127.0.0.1:${port}`)
    try {
      const deadline = performance.now() + startTimeoutMs
      while (!(await server.#answers(signal))) {
        if (server.#ended) throw new Error(`InfluxDB exited: ${errors}`)
        if (performance.now() > deadline) throw new Error(`InfluxDB does not listen: ${errors}`)
        await sleep(pollMs, undefined, { signal })
      }
      await server.#query('POST', 'CREATE DATABASE bench', signal)
      return server
    } catch (error) {
      await server.stop()
      throw error
    }
  }

  get writeUrl(): string {
    return `${this.url}/write?db=bench&precision=ns`
  }

  /** Points of the measurement that hold all three fields. */
  async count(signal: AbortSignal): Promise<number> {
    const reply = await this.#query('GET', 'SELECT COUNT(*) FROM telemetry', signal)
    const counts = (reply as InfluxReply).results[0]?.series?.[0]?.values[0]?.slice(1) ?? []
    return counts.length === 3 ? Math.min(...counts.map(Number)) : 0
  }

  get #ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null
  }

  async #answers(signal: AbortSignal): Promise<boolean> {
    try {
      const { status } = await fetch(`${this.url}/ping`, { signal })
      return status === 204
    } catch {
      signal.throwIfAborted()
      return false
    }
  }

  async #query(method: 'GET' | 'POST', text: string, signal: AbortSignal): Promise<unknown> {
    const query = new URLSearchParams({ db: 'bench', q: text })
    const reply = await fetch(`${this.url}/query?${query}`, { method, signal })
    if (reply.status !== 200) throw new Error(`${text}: ${reply.status} ${await reply.text()}`)
    return reply.json()
  }

  /** Ends it, after a while by force, and removes what it has written. */
  async stop(): Promise<void> {
    if (this.child.pid !== undefined && !this.#ended) {
      const exited = once(this.child, 'exit')
      this.child.kill('SIGTERM')
      const deadline = sleep(stopTimeoutMs, false, { ref: false })
      if (!(await Promise.race([exited.then(() => true), deadline]))) {
        this.child.kill('SIGKILL')
        await exited
      }
    }
    rmSync(this.folder, { recursive: true, force: true })
  }
}

interface InfluxReply {
  readonly results: readonly {
    readonly series?: readonly { readonly values: readonly (readonly unknown[])[] }[]
  }[]
}

/** Every write is flushed before its reply; all that is not writing is off. */
function configure(folder: string, port: number, otherPort: number): string {
  return `
reporting-enabled = false
bind-address = "127.0.0.1:${otherPort}"
[meta]
  dir = "${folder}/meta"
[data]
  dir = "${folder}/data"
  wal-dir = "${folder}/wal"
  wal-fsync-delay = "0s"
  query-log-enabled = false
[http]
  bind-address = "127.0.0.1:${port}"
  log-enabled = false
[monitor]
  store-enabled = false
[subscriber]
  enabled = false
[retention]
  enabled = false
[continuous_queries]
  enabled = false
[logging]
  level = "error"
`
}
