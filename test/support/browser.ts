import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { chromium } from 'playwright-core'
import { type Scope, temporaryFolder } from './server.ts'
import type { ReceivedEvent } from './sse.ts'
import { Inbox } from './waiting.ts'

const browserPaths = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
const launchTimeoutMs = 60_000
/** It may ask nobody but the test for anything. */
const browserArguments = [
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
]

const browserPath = browserPaths.find((path) => existsSync(path))

/** Why no browser can be driven here, null where one can. */
export function browserMissing(): string | null {
  return browserPath === undefined ? 'chromium is not installed' : null
}

/** What it follows, and under which names, stands in its own address. */
const page = `<!doctype html>
<title>A page that follows a stream</title>
<script>
  const parameters = new URLSearchParams(location.search)
  const source = new EventSource(parameters.get('stream'))
  source.addEventListener('open', () => opened())
  for (const name of parameters.getAll('name')) {
    source.addEventListener(name, ({ lastEventId, data }) => {
      received({ id: lastEventId, name, data: JSON.parse(data) })
    })
  }
</script>
`

/** Serves the page; the origin that is its own. */
export async function servePage(t: Scope): Promise<string> {
  const server = createServer((_, response) => {
    response.setHeader('content-type', 'text/html; charset=utf-8')
    response.end(page)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(async () => {
    server.closeAllConnections()
    server.close()
    await once(server, 'close')
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** What an EventSource tells, wherever it lives. */
export interface Follower {
  readonly events: Inbox<ReceivedEvent>
  /** One for every time that it connected. */
  readonly openings: Inbox<null>
}

/** A page of `origin` in a real browser that follows `streamUrl` by its own EventSource. */
export async function followInBrowser(
  t: Scope,
  origin: string,
  streamUrl: string,
  names: readonly string[],
): Promise<Follower> {
  if (browserPath === undefined) throw new Error('there is no browser')
  const home = await temporaryFolder(t)
  const browser = await chromium.launch({
    executablePath: browserPath,
    headless: true,
    // Root's browser has no sandbox, and it loads nothing but the test's own page.
    chromiumSandbox: false,
    args: browserArguments,
    env: { ...process.env, HOME: home },
    timeout: launchTimeoutMs,
  })
  t.after(() => browser.close())
  const follower = { events: new Inbox<ReceivedEvent>(), openings: new Inbox<null>() }
  const tab = await browser.newPage()
  await tab.exposeFunction('opened', () => follower.openings.push(null))
  await tab.exposeFunction('received', (event: ReceivedEvent) => follower.events.push(event))
  const query = new URLSearchParams({ stream: streamUrl })
  for (const name of names) query.append('name', name)
  await tab.goto(`${origin}/?${query}`)
  return follower
}
