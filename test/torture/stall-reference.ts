import { monitorEventLoopDelay } from 'node:perf_hooks'

/**
 * A process that does nothing but notice how long it was not let run: asked for it, it tells the longest
 * time since it was asked last, in milliseconds.
 */
const delay = monitorEventLoopDelay({ resolution: 10 })
delay.enable()

process.on('message', () => {
  process.send?.(delay.max / 1e6)
  delay.reset()
})
// A terminal's Ctrl-C reaches it too; it ends with its parent.
process.on('SIGINT', () => {})
process.on('disconnect', () => process.exit())
