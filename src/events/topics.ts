import type { Feed } from './feed.ts'
import { Topic } from './topic.ts'

/** All that somebody listens to, found by the event that is published. */
export class Topics<S> {
  readonly #bySession = new Map<number, Topic<S>>()
  readonly #byTenant = new Map<number, Map<string, Topic<S>>>()

  /** The topic of this feed, made where there is none. */
  of(feed: Feed): Topic<S> {
    const known = this.#find(feed)
    if (known !== undefined) return known
    const topic = new Topic<S>(feed)
    if (feed.session !== null) {
      this.#bySession.set(feed.session, topic)
    } else {
      const topics = this.#byTenant.get(feed.tenant) ?? new Map<string, Topic<S>>()
      this.#byTenant.set(feed.tenant, topics)
      topics.set(feed.key, topic)
    }
    return topic
  }

  ofSession(session: number): Topic<S> | undefined {
    return this.#bySession.get(session)
  }

  ofTenant(tenant: number): Iterable<Topic<S>> {
    return this.#byTenant.get(tenant)?.values() ?? []
  }

  delete({ feed }: Topic<S>): void {
    if (feed.session !== null) {
      this.#bySession.delete(feed.session)
      return
    }
    const topics = this.#byTenant.get(feed.tenant)
    topics?.delete(feed.key)
    if (topics?.size === 0) this.#byTenant.delete(feed.tenant)
  }

  all(): Topic<S>[] {
    const ofTenants = [...this.#byTenant.values()].flatMap((topics) => [...topics.values()])
    return [...this.#bySession.values(), ...ofTenants]
  }

  #find(feed: Feed): Topic<S> | undefined {
    if (feed.session !== null) return this.#bySession.get(feed.session)
    return this.#byTenant.get(feed.tenant)?.get(feed.key)
  }
}
