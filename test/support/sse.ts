import assert from 'node:assert/strict'
import { EventSource } from 'eventsource'
import { Inbox, within } from './waiting.ts'

export interface ReceivedEvent {
  readonly id: string
  readonly name: string
  readonly data: Record<string, unknown>
}

const terminalNames = new Set(['session-completed', 'session-failed', 'session-cancelled'])

export function isTerminal(event: ReceivedEvent): boolean {
  return terminalNames.has(event.name)
}

/** `event_12` is 12. */
export function eventNumber(event: { readonly id: string }): number {
  const digits = /^event_([1-9][0-9]*)$/.exec(event.id)?.[1]
  assert.ok(digits !== undefined, `${event.id} is no event id`)
  return Number(digits)
}

/** The events in the text of an event stream, however it is cut into pieces. */
export class EventParser {
  readonly comments: string[] = []
  #pending = ''

  /** The events that this piece completes. */
  push(text: string): ReceivedEvent[] {
    const frames = (this.#pending + text).split('\n\n')
    this.#pending = frames.pop() ?? ''
    return frames.flatMap((frame) => this.#take(frame) ?? [])
  }

  #take(frame: string): ReceivedEvent | null {
    const fields = new Map<string, string>()
    for (const line of frame.split('\n')) {
      if (line.startsWith(':')) this.comments.push(line.slice(1).trim())
      else if (line !== '') fields.set(...splitLine(line))
    }
    const name = fields.get('event')
    if (name === undefined) return null
    const data = JSON.parse(fields.get('data') ?? '') as Record<string, unknown>
    return { id: fields.get('id') ?? '', name, data }
  }
}

/** One SSE connection, read line by line, that can be cut in the middle. */
export class EventReader {
  readonly events = new Inbox<ReceivedEvent>()
  /** Resolves when the server ends the stream or the test cuts it. */
  readonly ended: Promise<void>
  readonly #parser = new EventParser()
  readonly #aborter: AbortController

  constructor(
    readonly response: Response,
    aborter: AbortController,
  ) {
    this.#aborter = aborter
    // A connection that the test cuts, or whose server is killed, ends with an error of fetch.
    this.ended = this.#read()
      .catch(() => {})
      .then(() => this.events.end('the stream has ended'))
  }

  get comments(): readonly string[] {
    return this.#parser.comments
  }

  get ids(): string[] {
    return this.events.items.map((event) => event.id)
  }

  get names(): string[] {
    return this.events.items.map((event) => event.name)
  }

  cut(): Promise<void> {
    this.#aborter.abort()
    return this.ended
  }

  event(name: string): Promise<ReceivedEvent> {
    return this.events.waitFor((event) => event.name === name, `the event ${name}`)
  }

  count(events: number): Promise<ReceivedEvent> {
    return this.events.waitFor(
      () => this.events.items.length >= events,
      `event number ${events} of the stream`,
    )
  }

  /** Waits for the terminal event and for the server to end the stream. */
  async whole(): Promise<ReceivedEvent[]> {
    await this.events.waitFor(isTerminal, 'a terminal event')
    await within(this.ended, 'the end of the stream')
    return this.events.items
  }

  async #read(): Promise<void> {
    const decoder = new TextDecoder('utf-8', { fatal: true })
    for await (const chunk of this.response.body ?? []) {
      const text = decoder.decode(chunk as Uint8Array, { stream: true })
      for (const event of this.#parser.push(text)) this.events.push(event)
    }
  }
}

function splitLine(line: string): [string, string] {
  const colon = line.indexOf(':')
  assert.ok(colon > 0, `not a field: ${line}`)
  return [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, '')]
}

/** Opens a stream of events; the answer must be 200 and an event stream. */
export async function openEvents(
  url: string,
  headers: Readonly<Record<string, string>>,
  lastEventId?: string,
): Promise<EventReader> {
  const aborter = new AbortController()
  const response = await fetch(url, {
    headers: {
      accept: 'text/event-stream',
      ...headers,
      ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
    },
    signal: aborter.signal,
  })
  assert.equal(response.status, 200)
  assert.match(response.headers.get('content-type') ?? '', /^text\/event-stream/)
  return new EventReader(response, aborter)
}

/** What a browser's EventSource sees of these events, up to the terminal one. */
export async function browserEvents(
  url: string,
  names: readonly string[],
  headers: Readonly<Record<string, string>> = {},
): Promise<ReceivedEvent[]> {
  const inbox = new Inbox<ReceivedEvent>()
  const source = new EventSource(url, {
    fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...headers } }),
  })
  for (const name of names) {
    source.addEventListener(name, (event) => {
      if (!('data' in event)) return
      inbox.push({ id: event.lastEventId, name, data: JSON.parse(event.data) })
    })
  }
  try {
    await inbox.waitFor(isTerminal, 'a terminal event')
  } finally {
    source.close()
  }
  return inbox.items
}
