import { loadConfig } from '../../src/config.ts'
import { createLogger } from '../../src/log.ts'
import { startServer } from '../../src/server.ts'
import { faultyWorkerFile, taskTimeoutVariable } from './faulty-mark.ts'

/**
 * The whole server as src/main.ts starts it, with threads that commit the faults that their tasks ask
 * for. It runs as a child process, so that a fault that ends it does not end the test.
 */
const config = loadConfig(process.argv.slice(2))
const log = createLogger(config.logLevel)
const server = await startServer(config, log, {
  workerFile: faultyWorkerFile,
  taskTimeoutMs: Number(process.env[taskTimeoutVariable]),
})
process.once('SIGTERM', () => {
  void server.close().then(() => process.exit(0))
})
