import { closeSync, openSync, readSync } from 'node:fs'
import { limits } from './limits.ts'

const MiB = 1024 * 1024

/** Of what is kept for a while in memory, how much there may be at a time, in bytes. */
export interface MemoryBudgets {
  /** One body, as it is sent and once it is inflated. */
  readonly bodyBytesMax: number
  /** All bodies being read, decoded or waiting. */
  readonly bodiesBytesMax: number
  /** Replies with bytes or pages that have not left yet. */
  readonly repliesBytesMax: number
  /** Units that wait for their transaction. */
  readonly commitQueueBytesMax: number
}

/** What follows from the bound of the process: a share of it each, but never more than ever was good. */
export function memoryBudgets(memoryMaxMiB: number): MemoryBudgets {
  const share = (part: number, bytesMax: number): number =>
    Math.min(bytesMax, Math.floor(memoryMaxMiB * MiB * part))
  return {
    bodyBytesMax: share(limits.bodyMemoryShare, limits.inflatedBodyBytesMax),
    bodiesBytesMax: share(limits.bodiesMemoryShare, limits.bodiesInFlightBytesMax),
    repliesBytesMax: share(limits.repliesMemoryShare, limits.repliesInFlightBytesMax),
    commitQueueBytesMax: share(limits.commitQueueMemoryShare, limits.commitQueueBytesMax),
  }
}

export interface MemoryGaugeOptions {
  /** Bound of the process, in bytes. */
  readonly bytesMax: number
  readonly onSample?: (usedBytes: number) => void
  readonly intervalMs?: number
  /** What the process uses now, in bytes. */
  readonly measure?: () => number
}

/**
 * Watches what the process itself takes of memory, all threads and libraries included; budgets cannot
 * know what a parser or an allocator keeps. Above a high watermark memory is short until it falls
 * below a low one.
 */
export class MemoryGauge {
  readonly bytesMax: number
  readonly #highBytes: number
  readonly #lowBytes: number
  readonly #onSample: (usedBytes: number) => void
  readonly #measure: () => number
  readonly #close: () => void
  #isShort = false
  #usedBytes = 0

  constructor({ bytesMax, onSample, intervalMs, measure }: MemoryGaugeOptions) {
    this.bytesMax = bytesMax
    this.#highBytes = bytesMax * limits.memoryHighShare
    this.#lowBytes = bytesMax * limits.memoryLowShare
    this.#onSample = onSample ?? (() => {})
    const meter = measure === undefined ? openMeter() : { measure, close: () => {} }
    this.#measure = meter.measure
    const timer = setInterval(() => this.sample(), intervalMs ?? limits.memorySampleMs)
    timer.unref()
    this.#close = () => {
      clearInterval(timer)
      meter.close()
    }
  }

  /** Whoever would take much memory should wait until others have given back theirs. */
  get isShort(): boolean {
    return this.#isShort
  }

  /** As of the last sample; 0 before the first. */
  get usedBytes(): number {
    return this.#usedBytes
  }

  sample(): void {
    const usedBytes = this.#measure()
    this.#usedBytes = usedBytes
    this.#isShort = usedBytes > (this.#isShort ? this.#lowBytes : this.#highBytes)
    this.#onSample(usedBytes)
  }

  close(): void {
    this.#close()
  }
}

interface Meter {
  readonly measure: () => number
  readonly close: () => void
}

/**
 * RssAnon where the kernel tells it: resident memory would count LMDB's mapped pages, which the kernel
 * takes back whenever it needs them.
 */
function openMeter(): Meter {
  const resident: Meter = { measure: () => process.memoryUsage.rss(), close: () => {} }
  let file: number
  try {
    file = openSync('/proc/self/status', 'r')
  } catch {
    return resident
  }
  const buffer = Buffer.allocUnsafe(4_096)
  const measure = (): number => {
    const text = buffer.toString('latin1', 0, readSync(file, buffer, 0, buffer.length, 0))
    const kiB = /^RssAnon:\s+(\d+) kB$/m.exec(text)?.[1]
    return kiB === undefined ? resident.measure() : Number(kiB) * 1024
  }
  let isClosed = false
  const close = (): void => {
    if (!isClosed) closeSync(file)
    isClosed = true
  }
  return { measure, close }
}
