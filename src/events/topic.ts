import type { StoredEvent } from '../contracts/events.ts'
import { limits } from '../limits.ts'
import { eventBytes, type Feed, type Page, pageOf } from './feed.ts'

const nothing: Page = { events: [], through: 0 }

/**
 * A feed that somebody listens to. What is published is put into batches of one write each, and all
 * who are live get the same batch, in one pass over them, before the next one is made.
 */
export class Topic<S> {
  readonly all = new Set<S>()
  /** Those who have had everything up to what is `fresh`, or are about to get it. */
  readonly live = new Set<S>()
  /** Pages of the log by the position that they follow, for as long as a turn takes. */
  readonly pages = new Map<number, Page>()
  /** Spent on the pass under way. */
  passMs = 0
  /** After a long pass what is published gathers for a while. */
  isResting = false
  #fresh: StoredEvent[] = []
  #freshBytes = 0
  #batch = nothing
  /** Those who have not had the batch. */
  #waiting: Iterator<S> | null = null
  /** The newest event that the feed took or passed over while anybody was live. */
  #seen = 0
  #settled = 0

  constructor(readonly feed: Feed) {}

  /** Not all who are live have had the batch. */
  get isInPass(): boolean {
    return this.#waiting !== null
  }

  get hasMore(): boolean {
    return this.#waiting !== null || this.#fresh.length > 0
  }

  /** What goes to those whom `next` gives. */
  get batch(): Page {
    return this.#batch
  }

  /** Everybody who is live has had what the feed takes up to this number. */
  get settled(): number {
    return this.hasMore ? this.#settled : this.#seen
  }

  /** The feed does not take this event. */
  pass(number: number): void {
    this.#seen = number
  }

  /** False where too much waits already: then the log has it, and the topic is to be dropped. */
  publish(event: StoredEvent): boolean {
    if (!this.hasMore) this.#settled = this.#seen
    this.#seen = event.number
    this.#freshBytes += eventBytes(event)
    this.#fresh.push(event)
    return this.#freshBytes <= limits.topicFreshBytesMax
  }

  /** Lets go of all that waits. Nobody may be live any more. */
  drop(): void {
    this.#fresh = []
    this.#freshBytes = 0
    this.passMs = 0
    this.#endBatch()
  }

  /** Who gets the batch next, the first of a new pass where none is under way; null at its end. */
  next(): S | null {
    if (this.#waiting === null) {
      if (this.#fresh.length === 0) return null
      this.#takeBatch()
    }
    const step = this.#waiting?.next()
    if (step?.done === false) return step.value
    this.#settled = this.#batch.through
    this.#endBatch()
    return null
  }

  #takeBatch(): void {
    this.#batch = pageOf(this.#fresh, this.#seen)
    this.#fresh = this.#fresh.slice(this.#batch.events.length)
    this.#freshBytes = this.#fresh.reduce((sum, event) => sum + eventBytes(event), 0)
    this.#waiting = this.live.values()
  }

  #endBatch(): void {
    this.#waiting = null
    this.#batch = nothing
  }
}
