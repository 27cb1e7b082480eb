import { type SessionEventData, type StoredEvent, terminalEvents } from '../contracts/events.ts'
import { limits } from '../limits.ts'
import type { SessionRow, Store } from '../store/interfaces.ts'
import { Candidate, type Selection } from './selection.ts'

/** Some events in order, and the number up to which they are all that a feed has. */
export interface Page {
  readonly events: readonly StoredEvent[]
  readonly through: number
}

/** What a look into the log finds: a page, or why there is nothing behind the position. */
export type Look = Page | 'live' | 'terminal' | 'gone'

/** A part of the log that can be subscribed to: read from a position, then followed. */
export interface Feed {
  readonly tenant: number
  /** Internal number of a session, null where the feed is of all the tenant has. */
  readonly session: number | null
  /** Subscribers to feeds of one key share what is read and made for them. */
  readonly key: string
  takes(candidate: Candidate): boolean
  /** What stands behind this position, as much as one write carries. */
  read(position: number): Look
  /** Nothing of the feed comes after this event. */
  endsWith(event: StoredEvent): boolean
}

/** All events of a session. */
export class SessionFeed implements Feed {
  readonly key = ''

  constructor(
    private readonly store: Store,
    readonly tenant: number,
    readonly session: number,
  ) {}

  takes({ event }: Candidate): boolean {
    return event.session === this.session
  }

  read(position: number): Look {
    const { events, sessions } = this.store
    const { tenant, session } = this
    const found = events.ofSession(tenant, session, position, limits.eventReplayPageMax)
    // As it is stored, in the same turn: the row in use may still be that from before the drop.
    const row = sessions.stored(session)
    if (row === null) return 'gone'
    const dropped = row.eventsDroppedThrough
    if (position < dropped) {
      const kept = found.filter(({ number }) => number > dropped)
      return pageOf([sessionGap(row, position), ...kept])
    }
    if (found.length > 0) return pageOf(found)
    // Its terminal event was dropped too, or the subscriber has come with a later one.
    return row.endedAtMs === null ? 'live' : 'terminal'
  }

  endsWith(event: StoredEvent): boolean {
    return terminalEvents.has(event.name)
  }
}

/** What a selection takes of all that happens to a tenant. It never ends. */
export class TenantFeed implements Feed {
  readonly session = null
  readonly key: string

  constructor(
    private readonly store: Store,
    readonly tenant: number,
    readonly selection: Selection,
  ) {
    this.key = selection.key
  }

  takes(candidate: Candidate): boolean {
    return this.selection.takes(candidate)
  }

  /** Passes over what the selection drops, so a page may be empty and still lead on. */
  read(position: number): Look {
    const { tenant, store } = this
    const dropped = store.events.first(tenant) - 1
    const hasGap = position < dropped
    const taken = hasGap ? [tenantGap(tenant, position, dropped)] : []
    const start = hasGap ? dropped : position
    let through = start
    let bytes = 0
    let takenBytes = 0
    for (let looked = 0; looked < limits.eventReplayPageMax; looked += limits.eventReplayRead) {
      const found = store.events.ofTenant(tenant, through, limits.eventReplayRead)
      for (const event of found) {
        through = event.number
        bytes += eventBytes(event)
        if (!this.takes(new Candidate(event))) continue
        taken.push(event)
        takenBytes += eventBytes(event)
      }
      if (found.length < limits.eventReplayRead) break
      if (bytes > limits.eventReplayBytesMax || takenBytes > limits.eventWriteBytesMax) break
    }
    return through === start && !hasGap ? 'live' : pageOf(taken, through)
  }

  endsWith(): boolean {
    return false
  }
}

/**
 * The head of these events that one write carries, at least one of them. `through` is the number
 * up to which there are no others.
 */
export function pageOf(events: readonly StoredEvent[], through = 0): Page {
  let bytes = 0
  let count = 0
  for (const event of events) {
    bytes += eventBytes(event)
    if (count > 0 && bytes > limits.eventWriteBytesMax) break
    count += 1
  }
  const head = count < events.length ? events.slice(0, count) : events
  const last = head[head.length - 1]?.number ?? 0
  return { events: head, through: count < events.length ? last : Math.max(last, through) }
}

/** About what an event takes on the wire. */
export function eventBytes(event: StoredEvent): number {
  return event.data.length + event.name.length + 40
}

/** Tells what retention dropped after this position. Its own id is where a reader goes on. */
function sessionGap(session: SessionRow, position: number): StoredEvent {
  const dropped = session.eventsDroppedThrough
  const data: SessionEventData<'gap'> = { sessionId: session.id, ...gapData(position, dropped) }
  const { tenant, number } = session
  return { tenant, number: dropped, session: number, name: 'gap', data: JSON.stringify(data) }
}

function tenantGap(tenant: number, position: number, dropped: number): StoredEvent {
  const data = JSON.stringify(gapData(position, dropped))
  return { tenant, number: dropped, session: null, name: 'gap', data }
}

function gapData(position: number, dropped: number) {
  return {
    timestamp: new Date().toISOString(),
    fromEventId: `event_${position + 1}`,
    toEventId: `event_${dropped}`,
  }
}
