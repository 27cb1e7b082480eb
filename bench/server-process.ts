import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { anonBytes } from './processes.ts'

export const projectFolder = fileURLToPath(new URL('../../', import.meta.url))
const serverModule = fileURLToPath(new URL('../src/main.js', import.meta.url))

const startTimeoutMs = 120_000
const stopTimeoutMs = 12_000
const memorySampleMs = 100
/** A dead server's sockets close before its parent is told. */
const exitNoticeMs = 200
const keptLogLines = 30

export interface ServerOptions {
  readonly dataDir: string
  readonly apiKey: string
  /** `node` runs the built module itself, `npm` the installed product's own command. */
  readonly command: 'node' | 'npm'
  /** `ATOMSTREAM_…` variables beside the bench's own. */
  readonly env?: Readonly<Record<string, string>>
}

/**
 * The server as a child process. It never outlives the process that started it by our own doing.
 */
export class ServerProcess {
  readonly #child: ChildProcess
  readonly #log: string[]
  readonly #ownGroup: boolean
  #memoryTimer: NodeJS.Timeout | undefined
  #anonBytesMax = 0
  #anonBytesMaxSinceMark = 0

  private constructor(
    child: ChildProcess,
    log: string[],
    ownGroup: boolean,
    readonly url: string,
    /** From the spawn to the log line that tells that it listens. */
    readonly startMs: number,
  ) {
    this.#child = child
    this.#log = log
    this.#ownGroup = ownGroup
  }

  /** Resolves once the server listens; rejects where it exits before, with its last log lines. */
  static async start(options: ServerOptions, signal?: AbortSignal): Promise<ServerProcess> {
    const begin = performance.now()
    // npm passes signals on to a shell and no further, so what it starts is stopped as a group.
    const ownGroup = options.command === 'npm'
    const [command, ...args] = ownGroup
      ? ['npm', 'start', '--silent']
      : [process.execPath, serverModule]
    const child = spawn(command as string, args, {
      cwd: projectFolder,
      env: serverEnvironment(options),
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: ownGroup,
    })
    const log: string[] = []
    try {
      const url = await listeningUrl(child, log, signal)
      return new ServerProcess(child, log, ownGroup, url, performance.now() - begin)
    } catch (error) {
      kill(child, ownGroup, 'SIGKILL')
      throw error
    }
  }

  /** Of the server where `node` runs it. */
  get pid(): number {
    const { pid } = this.#child
    if (pid === undefined) throw new Error('a server that listens has a process')
    return pid
  }

  /** The last lines that the server has written, for the reader of a failure. */
  get logTail(): string {
    return this.#log.join('\n')
  }

  /**
   * Rejects where the server has exited by itself, or does within a moment, with its last lines.
   */
  async assertAlive(): Promise<void> {
    if (!this.#ended) await sleep(exitNoticeMs)
    const { exitCode, signalCode } = this.#child
    if (this.#ended) {
      throw new Error(`the server exited (${exitCode ?? signalCode})\n${this.logTail}`)
    }
  }

  get #ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  /**
   * Reads the server's anonymous resident memory ten times a second. Mapped pages of the store are
   * not in it: they are the kernel's cache, which it takes back when memory is short.
   */
  watchMemory(): void {
    this.#sampleMemory()
    this.#memoryTimer = setInterval(() => this.#sampleMemory(), memorySampleMs)
  }

  #sampleMemory(): void {
    const bytes = this.anonBytes
    this.#anonBytesMax = Math.max(this.#anonBytesMax, bytes)
    this.#anonBytesMaxSinceMark = Math.max(this.#anonBytesMaxSinceMark, bytes)
  }

  /** Now; 0 where the system does not tell. */
  get anonBytes(): number {
    return anonBytes(this.#child.pid)
  }

  /** The most so far; 0 where the system does not tell. */
  get anonBytesMax(): number {
    return this.#anonBytesMax
  }

  /** The most since this was last asked. */
  takeAnonBytesMax(): number {
    this.#sampleMemory()
    const bytes = this.#anonBytesMaxSinceMark
    this.#anonBytesMaxSinceMark = 0
    return bytes
  }

  /** Stops the server as an operator would; throws where it does not end by itself with code 0. */
  async stop(): Promise<void> {
    clearInterval(this.#memoryTimer)
    const child = this.#child
    if (this.#ended) return
    const exited = once(child, 'exit')
    kill(child, this.#ownGroup, 'SIGTERM')
    const deadline = sleep(stopTimeoutMs, false, { ref: false })
    const inTime = await Promise.race([exited.then(() => true), deadline])
    if (!inTime) {
      kill(child, this.#ownGroup, 'SIGKILL')
      await exited
      throw new Error(`the server did not stop within ${stopTimeoutMs} ms`)
    }
    // npm does not hand on how its child ended.
    if (!this.#ownGroup && child.exitCode !== 0) {
      throw new Error(`the server stopped with ${child.exitCode ?? child.signalCode}`)
    }
  }
}

/**
 * What the caller's environment says of the server is left out: it would change what is measured.
 */
function serverEnvironment(options: ServerOptions): NodeJS.ProcessEnv {
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('ATOMSTREAM_'))
  return {
    ...Object.fromEntries(inherited),
    ATOMSTREAM_PORT: '0',
    ATOMSTREAM_DATA_DIR: options.dataDir,
    ATOMSTREAM_API_KEY: options.apiKey,
    ATOMSTREAM_RATE_LIMIT: '0',
    ...options.env,
  }
}

/**
 * Reads the child's output, keeping its last lines in `log`, up to the line that bears its URL.
 */
function listeningUrl(child: ChildProcess, log: string[], signal?: AbortSignal): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (reason: string) => reject(new Error(`the server ${reason}\n${log.join('\n')}`))
    const timer = setTimeout(
      () => fail(`did not listen within ${startTimeoutMs} ms`),
      startTimeoutMs,
    )
    const abort = () => reject(signal?.reason)
    const settle = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
    }
    signal?.addEventListener('abort', abort)
    child.once('error', reject)
    child.once('exit', () => {
      settle()
      fail('exited before it listened')
    })
    for (const stream of [child.stdout, child.stderr]) {
      if (!stream) continue
      // Read to the end of the process: a full pipe would stop it.
      createInterface({ input: stream }).on('line', (line) => {
        log.push(line)
        if (log.length > keptLogLines) log.shift()
        if (!line.includes('"msg":"listening"')) return
        settle()
        resolve((JSON.parse(line) as { url: string }).url)
      })
    }
  })
}

function kill(child: ChildProcess, group: boolean, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return
  try {
    process.kill(group ? -child.pid : child.pid, signal)
  } catch (error) {
    // Gone already.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}
