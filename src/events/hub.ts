import { type SessionEventData, type StoredEvent, terminalEvents } from '../contracts/events.ts'
import { limits } from '../limits.ts'
import type { SessionRow, Store } from '../store/interfaces.ts'
import { type Place, Topic, withinWrite } from './topic.ts'

/** `gone`: retention has taken the session. */
export type EndReason = 'terminal' | 'stopping' | 'gone'

export interface SubscribeOptions {
  readonly tenant: number
  /** Internal number of the session. */
  readonly session: number
  /** Everything with a greater number is delivered; 0 is the whole retained log. */
  readonly after: number
  /**
   * Takes events in order, always from a turn of its own; subscribers at the same event get one
   * and the same array. False: the socket takes no more for now, so nothing comes until `resume`.
   */
  deliver(events: readonly StoredEvent[]): boolean
  /** Called once, unless the subscriber closed the subscription itself. */
  onEnd(reason: EndReason): void
}

export interface Subscription {
  /** The socket takes bytes again. */
  resume(): void
  close(): void
}

/** What a look into the log from a cursor finds: events, or why there are none. */
type Page = readonly StoredEvent[] | 'live' | 'terminal' | 'gone'

/**
 * Delivers what is stored. A subscriber is a cursor into the log: while it is behind, it reads
 * pages of the log; once a read finds nothing more it is live and gets events as they are
 * published. A subscriber whose socket is full falls back to its cursor, so nobody's slowness
 * holds memory here, and nobody misses anything: of what retention dropped before it was read, a
 * `gap` event tells.
 */
export class EventHub {
  readonly #store: Store
  readonly #topics = new Map<number, Topic<Cursor>>()
  /** Topics that have something for those who are live. */
  readonly #dueTopics = new Set<Topic<Cursor>>()
  /** Those who read the log. */
  readonly #dueReplays = new Set<Cursor>()
  #turn: NodeJS.Immediate | null = null
  #count = 0
  #closed = false

  constructor(store: Store) {
    this.#store = store
    store.onEvents((events) => this.#publish(events))
  }

  get subscribers(): number {
    return this.#count
  }

  subscribe(options: SubscribeOptions): Subscription {
    let topic = this.#topics.get(options.session)
    if (topic === undefined) {
      topic = new Topic(options.tenant, options.session)
      this.#topics.set(options.session, topic)
    }
    const cursor = new Cursor(this, topic, options)
    topic.all.add(cursor)
    this.#count += 1
    if (this.#closed) setImmediate(() => this.#end(cursor, 'stopping'))
    else this.replay(cursor)
    return cursor
  }

  /** The session has ended and nothing of it comes after this event number, not even a gap. */
  isPastEnd(session: SessionRow, after: number): boolean {
    if (session.endedAtMs === null || after < session.eventsDroppedThrough) return false
    return this.#store.events.ofSession(session.tenant, session.number, after, 1).length === 0
  }

  /** Gives every subscriber what is stored, as far as its socket takes it, and its end. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    if (this.#turn !== null) clearImmediate(this.#turn)
    for (const topic of [...this.#topics.values()]) {
      topic.pages.clear()
      for (const cursor of [...topic.all]) {
        this.#finish(cursor)
        this.#end(cursor, 'stopping')
      }
    }
  }

  /** From the next turn on the subscriber reads the log from its cursor. */
  replay(cursor: Cursor): void {
    cursor.topic.live.delete(cursor)
    this.#dueReplays.add(cursor)
    this.#takeTurn()
  }

  remove(cursor: Cursor): void {
    if (cursor.isClosed) return
    cursor.isClosed = true
    this.#count -= 1
    this.#dueReplays.delete(cursor)
    const { topic } = cursor
    topic.live.delete(cursor)
    topic.all.delete(cursor)
    if (topic.all.size > 0) return
    this.#topics.delete(topic.session)
    this.#dueTopics.delete(topic)
  }

  #publish(events: readonly StoredEvent[]): void {
    for (const event of events) {
      const topic = event.session === null ? undefined : this.#topics.get(event.session)
      // Whoever is not live finds it in the log.
      if (topic === undefined || topic.live.size === 0) continue
      if (topic.publish(event)) {
        this.#dueTopics.add(topic)
      } else {
        for (const cursor of [...topic.live]) this.replay(cursor)
        this.#dueTopics.delete(topic)
      }
    }
    if (this.#dueTopics.size > 0) this.#takeTurn()
  }

  #takeTurn(): void {
    this.#turn ??= setImmediate(() => {
      this.#turn = null
      // Thousands of writes take the main thread for long: they take turns with everything else.
      this.#fanOut()
      this.#replayDue()
      if (this.#dueTopics.size > 0 || this.#dueReplays.size > 0) this.#takeTurn()
    })
  }

  /** Gives the live ones what was published. */
  #fanOut(): void {
    let left: number = limits.deliveriesPerTurnMax
    for (const topic of [...this.#dueTopics]) {
      for (; left > 0; left -= 1) {
        const step = topic.next()
        if (step === null) break
        this.#give(step.to, step.events)
      }
      this.#dueTopics.delete(topic)
      // Behind the others: a session of thousands of subscribers must not keep the next one
      // waiting.
      if (topic.hasMore) this.#dueTopics.add(topic)
      if (left === 0) return
    }
  }

  #replayDue(): void {
    let reads = 0
    let left = Math.min(limits.replaysPerTurnMax, this.#dueReplays.size)
    const topics = new Set<Topic<Cursor>>()
    for (const cursor of this.#dueReplays) {
      if (left === 0) break
      const { topic } = cursor
      // Reading the log takes the main thread, but many are at the same event.
      if (!topic.pages.has(cursor.position) && ++reads > limits.replayReadsPerTurnMax) break
      left -= 1
      topics.add(topic)
      this.#dueReplays.delete(cursor)
      this.#advance(cursor)
    }
    for (const topic of topics) topic.pages.clear()
  }

  /** One page of the log for one subscriber. */
  #advance(cursor: Cursor): void {
    const page = this.#page(cursor)
    // Reads see what is flushed, and publishing follows in the same thread: nothing falls between.
    if (page === 'live') cursor.topic.live.add(cursor)
    else if (typeof page === 'string') this.#end(cursor, page)
    else if (this.#give(cursor, page)) this.replay(cursor)
  }

  /** True where the subscriber takes more. */
  #give(cursor: Cursor, events: readonly StoredEvent[]): boolean {
    const last = events[events.length - 1]
    if (last === undefined || last.number <= cursor.position) return true
    const isNew = (events[0] as StoredEvent).number > cursor.position
    const fresh = isNew ? events : events.filter(({ number }) => number > cursor.position)
    cursor.position = last.number
    const takesMore = cursor.options.deliver(fresh)
    if (cursor.isClosed) return false
    if (terminalEvents.has(last.name)) {
      this.#end(cursor, 'terminal')
      return false
    }
    if (!takesMore) cursor.block()
    return takesMore
  }

  /** The live ones get the rest of what was published, the others a page. */
  #finish(cursor: Cursor): void {
    const isLive = cursor.topic.live.has(cursor)
    for (;;) {
      if (cursor.isClosed || cursor.isBlocked) return
      const page = this.#page(cursor)
      if (typeof page === 'string') return
      this.#give(cursor, page)
      if (!isLive) return
    }
  }

  #page(cursor: Cursor): Page {
    const { topic, position } = cursor
    const known = topic.pages.get(position)
    if (known !== undefined) return known
    const page = this.#read(topic, position)
    if (typeof page !== 'string') topic.pages.set(position, page)
    return page
  }

  #read({ tenant, session }: Place, position: number): Page {
    const { events, sessions } = this.#store
    const found = events.ofSession(tenant, session, position, limits.eventReplayPageMax)
    // As it is stored, in the same turn: the row in use may still be that from before the drop.
    const row = sessions.stored(session)
    if (row === null) return 'gone'
    const dropped = row.eventsDroppedThrough
    if (position < dropped) {
      const kept = found.filter(({ number }) => number > dropped)
      return withinWrite([gapEvent(row, position), ...kept])
    }
    if (found.length > 0) return withinWrite(found)
    // Its terminal event was dropped too, or the subscriber has come with a later one.
    return row.endedAtMs === null ? 'live' : 'terminal'
  }

  #end(cursor: Cursor, reason: EndReason): void {
    if (cursor.isClosed) return
    this.remove(cursor)
    cursor.options.onEnd(reason)
  }
}

/** Tells what retention dropped after this position. Its own id is where a reader goes on. */
function gapEvent(session: SessionRow, position: number): StoredEvent {
  const dropped = session.eventsDroppedThrough
  const data: SessionEventData<'gap'> = {
    sessionId: session.id,
    timestamp: new Date().toISOString(),
    fromEventId: `event_${position + 1}`,
    toEventId: `event_${dropped}`,
  }
  return {
    tenant: session.tenant,
    number: dropped,
    session: session.number,
    name: 'gap',
    data: JSON.stringify(data),
  }
}

/** How far one subscriber is. */
class Cursor implements Subscription {
  /** The number of the event that it was given last. */
  position: number
  isBlocked = false
  isClosed = false

  constructor(
    private readonly hub: EventHub,
    readonly topic: Topic<Cursor>,
    readonly options: SubscribeOptions,
  ) {
    this.position = options.after
  }

  /** What comes meanwhile is in the log. */
  block(): void {
    this.isBlocked = true
    this.topic.live.delete(this)
  }

  resume(): void {
    if (!this.isBlocked || this.isClosed) return
    this.isBlocked = false
    this.hub.replay(this)
  }

  close(): void {
    this.hub.remove(this)
  }
}
