import assert from 'node:assert/strict'
import type { StoredEvent } from '../contracts/events.ts'
import { limits } from '../limits.ts'
import type { SessionRow, Store } from '../store/interfaces.ts'
import { type Feed, type Look, type Page, SessionFeed, TenantFeed } from './feed.ts'
import { Candidate, type Selection } from './selection.ts'
import type { Topic } from './topic.ts'
import { Topics } from './topics.ts'

/** `gone`: retention has taken the session. */
export type EndReason = 'terminal' | 'stopping' | 'gone'

export interface SubscribeOptions {
  readonly tenant: number
  /** Internal number of the session, null for what `selection` takes of the whole tenant. */
  readonly session: number | null
  readonly selection?: Selection
  /** Everything with a greater number is delivered; 0 is the whole retained log. */
  readonly after: number
  /**
   * Takes events in order, always from a turn of its own; subscribers at the same event get one
   * and the same array. False: the socket takes no more for now, so nothing comes until `resume`.
   */
  deliver(events: readonly StoredEvent[]): boolean
  /** How many events it may be given now; without it, any number. */
  room?(): number
  /** There is more than it has room for, and nothing comes until `resume`. */
  onFull?(): void
  /** Called once, unless the subscriber closed the subscription itself. */
  onEnd(reason: EndReason): void
}

export interface Subscription {
  /**
   * The number up to which all events were given or passed over: who comes back with it misses
   * nothing and gets nothing twice.
   */
  readonly position: number
  /** The socket takes bytes again, or there is room again. */
  resume(): void
  close(): void
}

/** Topics that are offered an event between two looks at the clock. */
const offersPerClock = 64

/**
 * Delivers what is stored. A subscriber is a cursor into the log: while it is behind, it reads
 * pages of the log; once a read finds nothing more it is live and gets events as they are
 * published. A subscriber whose socket is full, or who has had as many events as it may, falls
 * back to its cursor, so nobody's slowness holds memory here, and nobody misses anything: of what
 * retention dropped before it was read, a `gap` event tells.
 */
export class EventHub {
  readonly #store: Store
  readonly #topics = new Topics<Cursor>()
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
    const cursor = new Cursor(this, this.#topics.of(this.#feed(options)), options)
    cursor.topic.all.add(cursor)
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
    for (const topic of this.#topics.all()) {
      topic.pages.clear()
      for (const cursor of [...topic.all]) {
        this.#finish(cursor)
        this.#end(cursor, 'stopping')
      }
    }
  }

  /** From the next turn on the subscriber reads the log from its cursor. */
  replay(cursor: Cursor): void {
    cursor.leaveLive()
    this.#dueReplays.add(cursor)
    this.#takeTurn()
  }

  remove(cursor: Cursor): void {
    if (cursor.isClosed) return
    cursor.isClosed = true
    this.#count -= 1
    this.#dueReplays.delete(cursor)
    const { topic } = cursor
    cursor.leaveLive()
    topic.all.delete(cursor)
    if (topic.all.size > 0) return
    this.#topics.delete(topic)
    this.#dueTopics.delete(topic)
  }

  #feed({ tenant, session, selection }: SubscribeOptions): Feed {
    if (session !== null) return new SessionFeed(this.#store, tenant, session)
    assert(selection !== undefined, 'a session or a selection')
    return new TenantFeed(this.#store, tenant, selection)
  }

  #publish(events: readonly StoredEvent[]): void {
    let left: number = limits.topicOffersPerTurnMax
    const untilMs = performance.now() + limits.publishTurnMs
    const leftToLog = new Set<number>()
    for (const event of events) {
      const candidate = new Candidate(event)
      if (event.session !== null) this.#offer(this.#topics.ofSession(event.session), candidate)
      if (leftToLog.has(event.tenant)) continue
      for (const topic of this.#topics.ofTenant(event.tenant)) {
        this.#offer(topic, candidate)
        left -= 1
        // A filter may have to look through all that an event holds.
        if (left % offersPerClock === 0 && performance.now() > untilMs) left = 0
        if (left <= 0) break
      }
      if (left > 0) continue
      leftToLog.add(event.tenant)
      for (const topic of this.#topics.ofTenant(event.tenant)) this.#leaveToLog(topic)
    }
    if (this.#dueTopics.size > 0) this.#takeTurn()
  }

  #offer(topic: Topic<Cursor> | undefined, candidate: Candidate): void {
    // Whoever is not live finds it in the log.
    if (topic === undefined || topic.live.size === 0) return
    if (!topic.feed.takes(candidate)) {
      topic.pass(candidate.event.number)
    } else if (topic.publish(candidate.event)) {
      if (!topic.isResting) this.#dueTopics.add(topic)
    } else {
      this.#leaveToLog(topic)
    }
  }

  /** Too much waits for those who are live, or takes too long: they read it in their own turns. */
  #leaveToLog(topic: Topic<Cursor>): void {
    for (const cursor of [...topic.live]) this.replay(cursor)
    topic.drop()
    this.#dueTopics.delete(topic)
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
      const beginMs = performance.now()
      for (; left > 0; left -= 1) {
        const cursor = topic.next()
        if (cursor === null) break
        this.#give(cursor, topic.batch)
      }
      topic.passMs += performance.now() - beginMs
      this.#dueTopics.delete(topic)
      // Behind the others: a topic of thousands of subscribers must not keep the next one waiting.
      if (topic.isInPass) this.#dueTopics.add(topic)
      else this.#endPass(topic)
      if (left === 0) return
    }
  }

  /**
   * A pass over thousands of sockets is followed by a rest of about as long: what is published meanwhile
   * goes out in the next, and an event takes a tenth of the write that it shares. 1,000 subscribers
   * got 370,000 events a second without, each write with three of them.
   */
  #endPass(topic: Topic<Cursor>): void {
    const { passMs } = topic
    topic.passMs = 0
    if (passMs < limits.fanOutPassMsMin) {
      if (topic.hasMore) this.#dueTopics.add(topic)
      return
    }
    topic.isResting = true
    const rest = setTimeout(
      () => {
        topic.isResting = false
        if (this.#closed || !topic.hasMore) return
        this.#dueTopics.add(topic)
        this.#takeTurn()
      },
      Math.min(Math.ceil(passMs), limits.fanOutRestMsMax),
    )
    rest.unref()
  }

  #replayDue(): void {
    const startedAtMs = performance.now()
    let reads = 0
    let left = Math.min(limits.replaysPerTurnMax, this.#dueReplays.size)
    const topics = new Set<Topic<Cursor>>()
    for (const cursor of this.#dueReplays) {
      if (left === 0) break
      const { topic } = cursor
      // Reading the log takes the main thread, but many are at the same event.
      if (!topic.pages.has(cursor.position)) {
        if (reads >= limits.replayReadsPerTurnMax) break
        if (reads > 0 && performance.now() - startedAtMs > limits.replayTurnMs) break
        reads += 1
      }
      left -= 1
      topics.add(topic)
      this.#dueReplays.delete(cursor)
      this.#advance(cursor)
    }
    for (const topic of topics) topic.pages.clear()
  }

  /** One page of the log for one subscriber. */
  #advance(cursor: Cursor): void {
    const look = this.#look(cursor)
    // Reads see what is flushed, and publishing follows in the same thread: nothing falls between.
    if (look === 'live') cursor.topic.live.add(cursor)
    else if (typeof look === 'string') this.#end(cursor, look)
    else if (this.#give(cursor, look)) this.replay(cursor)
  }

  /** True where the subscriber takes more. */
  #give(cursor: Cursor, page: Page): boolean {
    if (page.through <= cursor.reached) return true
    const fresh = eventsAfter(page.events, cursor.reached)
    const room = cursor.options.room?.() ?? Number.POSITIVE_INFINITY
    const given = fresh.length <= room ? fresh : fresh.slice(0, room)
    const last = given[given.length - 1]
    if (given === fresh) cursor.reached = page.through
    else if (last !== undefined) cursor.reached = last.number
    const takesMore = last === undefined || cursor.options.deliver(given)
    if (cursor.isClosed) return false
    if (last !== undefined && cursor.topic.feed.endsWith(last)) {
      this.#end(cursor, 'terminal')
      return false
    }
    const isFull = given !== fresh
    if (!takesMore || isFull) cursor.block()
    if (isFull) cursor.options.onFull?.()
    return takesMore && !isFull
  }

  /** The live ones get the rest of what was published, the others a page. */
  #finish(cursor: Cursor): void {
    const isLive = cursor.topic.live.has(cursor)
    if (isLive && !cursor.topic.hasMore) return
    for (;;) {
      if (cursor.isClosed || cursor.isBlocked) return
      const look = this.#look(cursor)
      if (typeof look === 'string') return
      this.#give(cursor, look)
      if (!isLive) return
    }
  }

  #look({ topic, position }: Cursor): Look {
    const known = topic.pages.get(position)
    if (known !== undefined) return known
    const look = topic.feed.read(position)
    if (typeof look !== 'string') topic.pages.set(position, look)
    return look
  }

  #end(cursor: Cursor, reason: EndReason): void {
    if (cursor.isClosed) return
    this.remove(cursor)
    cursor.options.onEnd(reason)
  }
}

/** The same array where all of it comes after the number. */
function eventsAfter(events: readonly StoredEvent[], after: number): readonly StoredEvent[] {
  const [first] = events
  if (first === undefined || first.number > after) return events
  return events.filter(({ number }) => number > after)
}

/** How far one subscriber is. */
class Cursor implements Subscription {
  /** The newest event that it was given, or a later one that was passed over then. */
  reached: number
  isBlocked = false
  isClosed = false

  constructor(
    private readonly hub: EventHub,
    readonly topic: Topic<Cursor>,
    readonly options: SubscribeOptions,
  ) {
    this.reached = options.after
  }

  get position(): number {
    const { topic, reached } = this
    return topic.live.has(this) ? Math.max(reached, topic.settled) : reached
  }

  /** What is passed over while many are live is counted for them together. */
  leaveLive(): void {
    this.reached = this.position
    this.topic.live.delete(this)
  }

  /** What comes meanwhile is in the log. */
  block(): void {
    this.isBlocked = true
    this.leaveLive()
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
