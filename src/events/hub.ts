import { type StoredEvent, terminalEvents } from '../contracts/events.ts'
import { limits } from '../limits.ts'
import type { SessionRow, Store } from '../store/interfaces.ts'

export type EndReason = 'terminal' | 'stopping' | 'stalled'

export interface SubscribeOptions {
  readonly tenant: number
  /** Internal number of the session. */
  readonly session: number
  /** Everything with a greater number is delivered; 0 is the whole retained log. */
  readonly after: number
  /**
   * Takes events in order, always from a turn of its own. False: the socket takes no more for now, so
   * nothing comes until `resume`.
   */
  readonly deliver: (events: readonly StoredEvent[]) => boolean
  /** Called once, unless the subscriber closed the subscription itself. */
  readonly onEnd: (reason: EndReason) => void
}

export interface Subscription {
  /** The socket takes bytes again. */
  resume(): void
  close(): void
}

/**
 * Delivers what is stored. A subscriber is a cursor into the log: while it is behind, it reads pages of
 * the log; once a read finds nothing more it is live and gets events as they are published. A subscriber
 * whose socket is full falls back to its cursor, so nobody's slowness holds memory here, and nobody
 * misses anything.
 */
export class EventHub {
  readonly #store: Store
  readonly #sessions = new Map<number, Set<Subscriber>>()
  /** Subscribers that have something to do in the next turn. */
  readonly #due = new Set<Subscriber>()
  #turn: NodeJS.Immediate | null = null
  #stallTimer: NodeJS.Timeout
  #count = 0
  #closed = false

  constructor(store: Store) {
    this.#store = store
    store.onEvents((events) => this.#publish(events))
    this.#stallTimer = setInterval(() => this.#cutStalled(), limits.subscriberStallCheckMs)
    this.#stallTimer.unref()
  }

  get subscribers(): number {
    return this.#count
  }

  subscribe(options: SubscribeOptions): Subscription {
    const subscriber = new Subscriber(options)
    let set = this.#sessions.get(options.session)
    if (set === undefined) {
      set = new Set()
      this.#sessions.set(options.session, set)
    }
    set.add(subscriber)
    this.#count += 1
    if (this.#closed) setImmediate(() => this.#end(subscriber, 'stopping'))
    else this.#schedule(subscriber)
    return {
      resume: () => {
        if (subscriber.blockedSinceMs === null) return
        subscriber.blockedSinceMs = null
        this.#schedule(subscriber)
      },
      close: () => this.#remove(subscriber),
    }
  }

  /** The session has ended and nothing of it comes after this event number. */
  isPastEnd(session: SessionRow, after: number): boolean {
    if (session.endedAtMs === null) return false
    return this.#store.events.ofSession(session.tenant, session.number, after, 1).length === 0
  }

  /** Tells every subscriber that the server stops. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    clearInterval(this.#stallTimer)
    for (const set of [...this.#sessions.values()]) {
      for (const subscriber of [...set]) {
        // What is stored already still goes out where the socket takes it.
        if (!subscriber.isBlocked) this.#advance(subscriber)
        this.#end(subscriber, 'stopping')
      }
    }
  }

  #publish(events: readonly StoredEvent[]): void {
    for (const event of events) {
      if (event.session === null) continue
      const set = this.#sessions.get(event.session)
      if (set === undefined) continue
      for (const subscriber of set) {
        if (!subscriber.isLive) continue
        subscriber.queue.push(event)
        this.#schedule(subscriber)
      }
    }
  }

  #schedule(subscriber: Subscriber): void {
    this.#due.add(subscriber)
    this.#takeTurn()
  }

  #takeTurn(): void {
    this.#turn ??= setImmediate(() => {
      this.#turn = null
      let replays = 0
      for (const next of [...this.#due]) {
        // Reading the log takes the main thread: those who replay take turns with everything else.
        if (!next.isLive && ++replays > limits.replaysPerTurnMax) continue
        this.#due.delete(next)
        this.#advance(next)
      }
      if (this.#due.size > 0) this.#takeTurn()
    })
  }

  /** One turn of one subscriber: a page of the log, or what was published since its last turn. */
  #advance(subscriber: Subscriber): void {
    if (subscriber.isClosed || subscriber.isBlocked) return
    const events = subscriber.isLive ? subscriber.takeQueue() : this.#page(subscriber)
    if (events.length === 0) {
      // Reads see what is flushed, and publishing follows in the same thread: nothing can fall between.
      subscriber.isLive = true
      return
    }
    const last = events[events.length - 1]
    if (last !== undefined) subscriber.cursor = last.number
    const takesMore = subscriber.options.deliver(events)
    if (subscriber.isClosed) return
    if (last !== undefined && terminalEvents.has(last.name)) {
      this.#end(subscriber, 'terminal')
      return
    }
    if (!takesMore) subscriber.block()
    else if (!subscriber.isLive) this.#schedule(subscriber)
  }

  #page(subscriber: Subscriber): readonly StoredEvent[] {
    const { tenant, session } = subscriber.options
    const { cursor } = subscriber
    const page = this.#store.events.ofSession(tenant, session, cursor, limits.eventReplayPageMax)
    return withinBytes(page)
  }

  #cutStalled(): void {
    const beforeMs = Date.now() - limits.subscriberStallMs
    for (const set of this.#sessions.values()) {
      for (const subscriber of set) {
        const { blockedSinceMs } = subscriber
        if (blockedSinceMs !== null && blockedSinceMs < beforeMs) this.#end(subscriber, 'stalled')
      }
    }
  }

  #end(subscriber: Subscriber, reason: EndReason): void {
    if (subscriber.isClosed) return
    this.#remove(subscriber)
    subscriber.options.onEnd(reason)
  }

  #remove(subscriber: Subscriber): void {
    if (subscriber.isClosed) return
    subscriber.isClosed = true
    subscriber.queue.length = 0
    this.#due.delete(subscriber)
    this.#count -= 1
    const { session } = subscriber.options
    const set = this.#sessions.get(session)
    set?.delete(subscriber)
    if (set?.size === 0) this.#sessions.delete(session)
  }
}

class Subscriber {
  cursor: number
  isLive = false
  isClosed = false
  blockedSinceMs: number | null = null
  /** Published since the last turn; only while live. */
  readonly queue: StoredEvent[] = []

  constructor(readonly options: SubscribeOptions) {
    this.cursor = options.after
  }

  get isBlocked(): boolean {
    return this.blockedSinceMs !== null
  }

  /** Falls back to the cursor: what was queued is in the log. */
  block(): void {
    this.blockedSinceMs = Date.now()
    this.isLive = false
    this.queue.length = 0
  }

  /** What fits into one write; the rest is read from the log again. */
  takeQueue(): readonly StoredEvent[] {
    const fresh = this.queue.filter((event) => event.number > this.cursor)
    this.queue.length = 0
    const events = withinBytes(fresh)
    if (events.length < fresh.length) this.isLive = false
    return events
  }
}

/** The head of a list that one write carries, at least one event. */
function withinBytes(events: readonly StoredEvent[]): readonly StoredEvent[] {
  let bytes = 0
  let count = 0
  for (const event of events) {
    bytes += event.data.length + event.name.length + 40
    if (count > 0 && bytes > limits.eventWriteBytesMax) return events.slice(0, count)
    count += 1
  }
  return events
}
