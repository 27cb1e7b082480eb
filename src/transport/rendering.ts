import type { StoredEvent } from '../contracts/events.ts'

/**
 * What events look like on the wire. The hub gives one and the same array to all who are at the
 * same event, one after the other, so it is made once for them and not once for each.
 */
export class Rendering<T> {
  #events: readonly StoredEvent[] = []
  #rendered: T

  constructor(private readonly render: (events: readonly StoredEvent[]) => T) {
    this.#rendered = render([])
  }

  of(events: readonly StoredEvent[]): T {
    if (events !== this.#events) {
      this.#rendered = this.render(events)
      this.#events = events
    }
    return this.#rendered
  }
}
