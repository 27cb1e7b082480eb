import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Client } from './client.ts'
import { Inbox, within } from './waiting.ts'

const mainPath = join(import.meta.dirname, '../../src/main.js')

export interface ServerOptions {
  /** Kept after the test; without it the server gets a folder that goes with the test. */
  readonly dataDir?: string
  /** `ATOMSTREAM_…` variables beside the test's own; null takes one of those away. */
  readonly env?: Readonly<Record<string, string | null>>
  readonly args?: readonly string[]
  /** The module that node runs, in place of the program's own. */
  readonly program?: string
  /** A program with its arguments that becomes or starts node, as `strace -D` does. */
  readonly under?: readonly string[]
}

/** Whatever ends and then cleans up: a test, or one run of a longer trial. */
export interface Scope {
  after(cleanUp: () => unknown): void
}

export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  /** From the signal that `stop` sent to the end of the process. */
  readonly afterMs: number
}

/** A temporary folder that goes when the test ends. */
export async function temporaryFolder(t: Scope): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'atomstream-test-'))
  t.after(() => rm(folder, { recursive: true, force: true, maxRetries: 5 }))
  return folder
}

/** The environment without the variables of the program, so that only the test's own count. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const names = Object.keys(process.env).filter((name) => !name.startsWith('ATOMSTREAM_'))
  return Object.fromEntries(names.map((name) => [name, process.env[name]]))
}

/** The built server as a child process on a free port. */
export class TestServer {
  /** Lines of standard output, as they came. */
  readonly output = new Inbox<string>()
  readonly exited: Promise<void>
  url = ''
  #exit: { code: number | null; signal: NodeJS.Signals | null } | null = null
  #errors = ''

  constructor(
    readonly child: ChildProcess,
    readonly dataDir: string,
    /** The full-scope key of tenant 0, empty where the test runs without one. */
    readonly key: string,
  ) {
    this.exited = new Promise((resolve) => {
      child.once('close', (code, signal) => {
        this.#exit = { code, signal }
        this.output.end(`the server ended\n${this.output.items.join('\n')}\n${this.errors}`)
        resolve()
      })
    })
    if (child.stdout !== null) {
      createInterface({ input: child.stdout }).on('line', (line) => this.output.push(line))
    }
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#errors += chunk.toString()
    })
  }

  get pid(): number {
    if (this.child.pid === undefined) throw new Error('the server was not started')
    return this.child.pid
  }

  get running(): boolean {
    return this.#exit === null
  }

  /** Standard error as far as it came. */
  get errors(): string {
    return this.#errors
  }

  /** The JSON log lines; what else was printed is left out. */
  get log(): Record<string, unknown>[] {
    return this.output.items.flatMap((line) => {
      const fact = parseLine(line)
      return fact === null ? [] : [fact]
    })
  }

  /** A client with the test's own key. */
  get client(): Client {
    return this.clientWith(this.key)
  }

  clientWith(key: string | null): Client {
    return new Client(this.url, key)
  }

  /** Resolves once the server says that it listens; rejects where it ends before. */
  async listening(): Promise<void> {
    const line = await this.output.waitFor(
      (text) => parseLine(text)?.msg === 'listening',
      'the line "listening"',
    )
    const fact = parseLine(line)
    if (typeof fact?.url !== 'string') throw new Error('the line "listening" bears no url')
    this.url = fact.url
  }

  /** Asks the server to stop, as a service manager does, and waits for its end. */
  stop(): Promise<Exit> {
    return this.kill('SIGTERM')
  }

  async kill(signal: NodeJS.Signals): Promise<Exit> {
    const sentMs = performance.now()
    if (this.running) this.child.kill(signal)
    await within(this.exited, `the end of the server after ${signal}`)
    return {
      code: this.#exit?.code ?? null,
      signal: this.#exit?.signal ?? null,
      afterMs: performance.now() - sentMs,
    }
  }
}

function parseLine(line: string): Record<string, unknown> | null {
  if (!line.startsWith('{')) return null
  try {
    return JSON.parse(line) as Record<string, unknown>
  } catch {
    return null
  }
}

/**
 * Starts the built server on a free port, rate limit off, and waits until it serves. Without a
 * `dataDir` it gets a temporary one; the process is ended after the test in any case.
 */
export async function startServer(t: Scope, options: ServerOptions = {}): Promise<TestServer> {
  const dataDir = options.dataDir ?? (await temporaryFolder(t))
  const server = launchServer(t, dataDir, options)
  await server.listening()
  return server
}

/** The same without the wait: for who has something in store for a server that still starts. */
export function launchServer(
  t: Scope,
  dataDir: string,
  options: Omit<ServerOptions, 'dataDir'> = {},
): TestServer {
  const settings: Record<string, string | null> = {
    ATOMSTREAM_PORT: '0',
    ATOMSTREAM_DATA_DIR: dataDir,
    ATOMSTREAM_API_KEY: `test-${randomBytes(16).toString('hex')}`,
    ATOMSTREAM_RATE_LIMIT: '0',
    ...options.env,
  }
  const env = cleanEnvironment()
  for (const [name, value] of Object.entries(settings)) if (value !== null) env[name] = value
  const [program = process.execPath, ...rest] = [...(options.under ?? []), process.execPath]
  const child = spawn(program, [...rest, options.program ?? mainPath, ...(options.args ?? [])], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const server = new TestServer(child, dataDir, settings.ATOMSTREAM_API_KEY ?? '')
  t.after(() => (server.running ? server.kill('SIGKILL') : undefined))
  return server
}

export interface CommandResult {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs the program with these arguments on a data folder and waits for its end. */
export async function runCommand(dataDir: string, args: readonly string[]): Promise<CommandResult> {
  const env = { ...cleanEnvironment(), ATOMSTREAM_DATA_DIR: dataDir }
  const child = spawn(process.execPath, [mainPath, ...args], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString()
  })
  const code = await within(
    new Promise<number | null>((resolve) => child.once('close', resolve)),
    `the end of the command ${args.join(' ')}`,
  )
  return { code, stdout, stderr }
}

export interface CreatedKey {
  readonly id: string
  readonly key: string
}

/** Creates a key through the command line, as an operator does beside a running server. */
export async function createKey(
  dataDir: string,
  { tenant = 0, scopes = 'admin', user = 'tester' } = {},
): Promise<CreatedKey> {
  const args = ['keys', 'create', '--tenant', `${tenant}`, '--user', user, '--scopes', scopes]
  const result = await runCommand(dataDir, args)
  if (result.code !== 0) throw new Error(`keys create failed: ${result.stderr}${result.stdout}`)
  return JSON.parse(result.stdout) as CreatedKey
}
