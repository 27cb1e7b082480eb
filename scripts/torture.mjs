import { ensureReady } from './ready.mjs'

await ensureReady({ dev: true })
await import('../dist/test/torture/main.js')
