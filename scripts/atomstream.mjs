#!/usr/bin/env node
import { ensureReady } from './ready.mjs'

await ensureReady({ dev: false })
// In this very process, so that signals reach the server itself.
await import('../dist/src/main.js')
