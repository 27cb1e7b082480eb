import { isMainThread } from 'node:worker_threads'

/**
 * Loaded into the real server with `--import`: on SIGUSR2 its main thread meets an error that nobody
 * catches, on SIGPIPE a rejection that nobody handles.
 */
if (isMainThread) {
  process.on('SIGUSR2', () => {
    throw new Error('an uncaught error')
  })
  process.on('SIGPIPE', () => {
    void Promise.reject(new Error('an unhandled rejection'))
  })
}
