import { test } from 'node:test'
import { EventSource } from 'eventsource'
import type { Follower } from '../support/browser.ts'
import type { Client } from '../support/client.ts'
import type { Scope } from '../support/server.ts'
import type { ReceivedEvent } from '../support/sse.ts'
import { Inbox } from '../support/waiting.ts'
import {
  followedNames,
  followFromTheOpening,
  followThroughCuts,
  streamPath,
} from './stream-scenario.ts'

/** The eventsource package with the key in a header, which its own `fetch` option sets. */
function byPackage(t: Scope): (baseUrl: string, client: Client) => Promise<Follower> {
  return async (baseUrl, client) => {
    const query = new URLSearchParams({ events: followedNames.join(',') })
    const source = new EventSource(`${baseUrl}${streamPath}?${query}`, {
      fetch: (input, init) =>
        fetch(input, { ...init, headers: { ...init.headers, ...client.headers } }),
    })
    t.after(() => source.close())
    const follower = { events: new Inbox<ReceivedEvent>(), openings: new Inbox<null>() }
    source.addEventListener('open', () => follower.openings.push(null))
    for (const name of followedNames) {
      source.addEventListener(name, ({ lastEventId, data }) => {
        follower.events.push({ id: lastEventId, name, data: JSON.parse(data) })
      })
    }
    return follower
  }
}

test('the eventsource package with a key in a header comes back and misses nothing', async (t) => {
  await followThroughCuts(t, {}, byPackage(t))
})

test('the eventsource package, cut before its first event, still misses nothing', async (t) => {
  await followFromTheOpening(t, {}, byPackage(t))
})
