import { readFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { CommandFailure, suggestion } from './cli/flags.ts'
import { backupHelp, commandNames, keysHelp, mainHelp, verifyHelp } from './cli/help.ts'
import { type Config, ConfigError, loadConfig } from './config.ts'
import { Refusal } from './contracts/errors.ts'
import { limits } from './limits.ts'
import { createLogger, type Logger } from './log.ts'
import type { RunningServer } from './server.ts'
import type { StoreFailure } from './store/interfaces.ts'

const exitFailed = 1
const exitUsage = 2

await main(process.argv.slice(2))

async function main(args: readonly string[]): Promise<void> {
  try {
    await runCommand(args)
  } catch (error) {
    if (error instanceof ConfigError) {
      process.stderr.write(`atomstream: ${error.message}\n`)
      process.exitCode = exitUsage
    } else if (error instanceof CommandFailure || error instanceof Refusal) {
      process.stderr.write(`atomstream: ${error.message}\n`)
      process.exitCode = exitFailed
    } else {
      process.stderr.write(`atomstream: ${error instanceof Error ? error.stack : error}\n`)
      process.exitCode = exitFailed
    }
  }
}

async function runCommand(args: readonly string[]): Promise<void> {
  const [first, ...rest] = args
  const isCommand = first !== undefined && !first.startsWith('-')
  const command = isCommand ? first : 'serve'
  const commandArgs = isCommand ? rest : args
  if (commandArgs.includes('--help') || commandArgs.includes('-h')) {
    return print(helpOf(command))
  }
  if (commandArgs.includes('--version')) return print(readVersion())
  switch (command) {
    case 'serve':
      return serve(loadConfig(commandArgs))
    case 'keys': {
      const { runKeys } = await import('./cli/keys.ts')
      return print(await runKeys(commandArgs))
    }
    case 'backup': {
      const { runBackup } = await import('./cli/backup.ts')
      return print(await runBackup(commandArgs))
    }
    case 'verify': {
      const { runVerify } = await import('./cli/verify.ts')
      if (!(await runVerify(commandArgs, print))) process.exitCode = exitFailed
      return
    }
    default: {
      const near = suggestion(command, commandNames)
      throw new ConfigError(`unknown command "${command}"${near}; see --help`)
    }
  }
}

function helpOf(command: string): string {
  switch (command) {
    case 'keys':
      return keysHelp()
    case 'backup':
      return backupHelp()
    case 'verify':
      return verifyHelp()
    default:
      return mainHelp()
  }
}

function print(text: string): void {
  process.stdout.write(`${text}\n`)
}

function readVersion(): string {
  // This file runs as dist/src/main.js.
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8')
  const { version } = JSON.parse(text) as { version: string }
  return version
}

/** Serves until a signal or a fatal error; the process ends by `process.exit` in either case. */
async function serve(config: Config): Promise<void> {
  // V8 counts a body that goes to a thread and comes back as growth of both heaps: with 20 MB of frames each
  // heap was collected whole after every second body, and its marking took 14 % of the processor.
  setFlagsFromString(`--heap-growing-percent=${limits.heapGrowingPercent}`)
  const log = createLogger(config.logLevel)
  let starting: Promise<RunningServer> | null = null
  let stopping = false

  const stop = async (exitCode: number): Promise<void> => {
    stopping = true
    const deadline = setTimeout(() => {
      log.fatal({ timeoutMs: limits.exitTimeoutMs }, 'did not stop in time')
      die()
    }, limits.exitTimeoutMs)
    try {
      const server = await starting
      await server?.close()
    } catch (error) {
      log.fatal({ err: error }, 'failed to stop')
      process.exit(exitFailed)
    }
    clearTimeout(deadline)
    log.info({ exitCode }, 'stopped')
    process.exit(exitCode)
  }

  stopOnSignal(log, () => stop(0))
  // Without a listener of its own an unhandled rejection arrives here too, with its origin named.
  process.on('uncaughtException', (error, origin) => {
    log.fatal({ err: error, origin }, 'fatal')
    if (stopping) process.exit(exitFailed)
    void stop(exitFailed)
  })

  try {
    const { startServer } = await import('./server.ts')
    starting = startServer(config, log, {
      onStoreFailure: (failure) => endAtOnce(log, failure),
    })
    await starting
  } catch (error) {
    log.fatal({ err: error }, 'failed to start')
    process.exit(exitFailed)
  }
}

/**
 * No orderly stop where the store has failed: it would write, and what a client is told now nobody can
 * keep. Everything that was acknowledged before is on disk.
 */
function endAtOnce(log: Logger, { path, error, isStuck }: StoreFailure): void {
  const advice =
    'Nothing acknowledged is lost. See what the system log says of the disk, then start again'
  log.fatal({ err: error, operation: 'commit', path, advice }, 'the store failed')
  if (isStuck) die()
  process.exit(exitFailed)
}

/** `process.exit` waits for the threads that LMDB and sharp work on; here one of them hangs. */
function die(): void {
  process.kill(process.pid, 'SIGKILL')
}

/** The first signal stops in order, a second one at once. */
function stopOnSignal(log: Logger, stop: () => Promise<void>): void {
  let firstAtMs: number | null = null
  const receive = (signal: NodeJS.Signals): void => {
    const nowMs = performance.now()
    if (firstAtMs === null) {
      firstAtMs = nowMs
      log.info({ signal }, 'stopping')
      void stop()
    } else if (nowMs - firstAtMs > limits.signalRepeatMs) {
      log.fatal({ signal }, 'stopped at once by a second signal')
      process.exit(exitFailed)
    }
  }
  process.on('SIGTERM', receive)
  process.on('SIGINT', receive)
}
