import { test } from 'node:test'
import { browserMissing, type Follower, followInBrowser, servePage } from '../support/browser.ts'
import type { Client } from '../support/client.ts'
import type { Scope } from '../support/server.ts'
import {
  followedNames,
  followFromTheOpening,
  followThroughCuts,
  streamPath,
} from './stream-scenario.ts'

const missing = browserMissing()
const skip = missing ?? false

/** A page of another origin that the server allows, which opens the stream by a ticket. */
async function inBrowser(
  t: Scope,
): Promise<[{ ATOMSTREAM_CORS_ORIGINS: string }, (url: string, c: Client) => Promise<Follower>]> {
  const origin = await servePage(t)
  const follow = async (baseUrl: string, client: Client): Promise<Follower> => {
    const ticket = await client.ticket(streamPath)
    const query = new URLSearchParams({ ticket, events: followedNames.join(',') })
    return followInBrowser(t, origin, `${baseUrl}${streamPath}?${query}`, followedNames)
  }
  return [{ ATOMSTREAM_CORS_ORIGINS: origin }, follow]
}

test('a browser’s EventSource with a ticket comes back by itself and misses nothing', {
  skip,
}, async (t) => {
  await followThroughCuts(t, ...(await inBrowser(t)))
})

test('a browser that is cut before its first event still misses nothing', { skip }, async (t) => {
  await followFromTheOpening(t, ...(await inBrowser(t)))
})
