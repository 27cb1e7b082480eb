import { readFileSync } from 'node:fs'
import { suggestion } from './cli/flags.ts'
import { commandNames, keysHelp, mainHelp } from './cli/help.ts'
import { type Config, ConfigError, loadConfig } from './config.ts'
import { limits } from './limits.ts'
import { createLogger, type Logger } from './log.ts'
import type { RunningServer } from './server.ts'

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
    return print(command === 'keys' ? keysHelp() : mainHelp())
  }
  if (commandArgs.includes('--version')) return print(readVersion())
  switch (command) {
    case 'serve':
      return serve(loadConfig(commandArgs))
    case 'keys': {
      const { runKeys } = await import('./cli/keys.ts')
      return print(await runKeys(commandArgs))
    }
    default: {
      const near = suggestion(command, commandNames)
      throw new ConfigError(`unknown command "${command}"${near}; see --help`)
    }
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
  const log = createLogger(config.logLevel)
  let starting: Promise<RunningServer> | null = null
  let stopping = false

  const stop = async (exitCode: number): Promise<void> => {
    stopping = true
    const deadline = setTimeout(() => {
      log.fatal({ timeoutMs: limits.exitTimeoutMs }, 'did not stop in time')
      process.exit(exitFailed)
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
    starting = startServer(config, log)
    await starting
  } catch (error) {
    log.fatal({ err: error }, 'failed to start')
    process.exit(exitFailed)
  }
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
