import type { StoredEvent } from '../contracts/events.ts'
import { limits } from '../limits.ts'

export interface Place {
  readonly tenant: number
  /** Internal number of a session. */
  readonly session: number
}

/**
 * A session that somebody listens to. What is published is put into batches of one write each,
 * and all who are live get the same batch, before the next one is made.
 */
export class Topic<S> implements Place {
  readonly all = new Set<S>()
  /** Those who have had everything up to what is `fresh`, or are about to get it. */
  readonly live = new Set<S>()
  /** Pages of the log by the cursor that they follow, for as long as a turn takes. */
  readonly pages = new Map<number, readonly StoredEvent[]>()
  #fresh: StoredEvent[] = []
  #freshBytes = 0
  #batch: readonly StoredEvent[] = []
  /** Those who have not had the batch. */
  #waiting: Iterator<S> | null = null

  constructor(
    readonly tenant: number,
    readonly session: number,
  ) {}

  get hasMore(): boolean {
    return this.#waiting !== null || this.#fresh.length > 0
  }

  /** False where too much waits already: then all of it is let go, and the log has it. */
  publish(event: StoredEvent): boolean {
    this.#freshBytes += eventBytes(event)
    if (this.#freshBytes <= limits.topicFreshBytesMax) {
      this.#fresh.push(event)
      return true
    }
    this.#fresh = []
    this.#freshBytes = 0
    this.#batch = []
    this.#waiting = null
    return false
  }

  /** What goes to whom next; null where everybody has had everything. */
  next(): { readonly to: S; readonly events: readonly StoredEvent[] } | null {
    for (;;) {
      if (this.#waiting === null) {
        if (this.#fresh.length === 0) return null
        this.#takeBatch()
      }
      const step = this.#waiting?.next()
      if (step?.done === false) return { to: step.value, events: this.#batch }
      this.#waiting = null
      this.#batch = []
    }
  }

  #takeBatch(): void {
    this.#batch = withinWrite(this.#fresh)
    this.#fresh = this.#fresh.slice(this.#batch.length)
    this.#freshBytes = this.#fresh.reduce((sum, event) => sum + eventBytes(event), 0)
    this.#waiting = this.live.values()
  }
}

/** The head of a list that one write carries, at least one event. */
export function withinWrite(events: readonly StoredEvent[]): readonly StoredEvent[] {
  let bytes = 0
  let count = 0
  for (const event of events) {
    bytes += eventBytes(event)
    if (count > 0 && bytes > limits.eventWriteBytesMax) return events.slice(0, count)
    count += 1
  }
  return events
}

/** About what an event takes on the wire. */
function eventBytes(event: StoredEvent): number {
  return event.data.length + event.name.length + 40
}
