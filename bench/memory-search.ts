import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { openStore } from '../src/store/store.ts'
import { frameRequest, HttpConnection, headBytesMax } from './http-client.ts'
import type { MediaBench } from './media.ts'
import { MemoryTexts } from './memory-documents.ts'
import { formatFigure, plainOutcome, type RowOutcome } from './report.ts'
import { ServerProcess } from './server-process.ts'
import { type LatencySummary, summariseLatency } from './statistics.ts'
import { judgeAtMost } from './verdict.ts'

const seed = 5
/** That of the key which the server takes from its environment. */
const tenant = 0
const fillCommitMemories = 500
const storeBytesMax = 2 ** 31
const readySecondsAllowed = 5
const searchMsAllowed = 20
const readyPollMs = 20
const readyTimeoutMs = 120_000
const probeMs = 5
const idleMs = 1_000
const MiB = 2 ** 20

interface MemoryBench extends MediaBench {
  readonly options: { readonly quick: boolean; readonly only: string | null }
}

interface Size {
  readonly memories: number
  readonly queries: number
  /**
   * It has to keep the figures that are promised of it. Another is for information, and runs only
   * where it is asked for by name, because it takes a minute and more.
   */
  readonly isJudged: boolean
}
const sizes: readonly Size[] = [
  { memories: 10_000, queries: 2_000, isJudged: true },
  { memories: 100_000, queries: 500, isJudged: false },
]
const quick = { memories: 200, queries: 25 } as const

const readyId = (memories: number) => `memories/ready-${memories / 1_000}k`
const searchId = (memories: number) => `memories/search-${memories / 1_000}k`
/** Of a run of all rows. */
export const memorySearchRowIds: readonly string[] = sizes.flatMap(({ memories, isJudged }) =>
  isJudged ? [readyId(memories), searchId(memories)] : [],
)

interface Measured {
  readonly readySeconds: number
  readonly health: LatencySummary
  readonly search: LatencySummary
  /** p99 of each kind of query. */
  readonly kinds: string
  readonly idleBytes: number
  readonly bytesMax: number
}

/**
 * The rows on the search of memories that are selected: a store is filled, a server started on it,
 * and asked for its health until it can search, then searched one query after the other. Rejects
 * where the server cannot be started, dies or does not stop, or where a search finds nothing at
 * all.
 */
export async function benchMemorySearch(bench: MemoryBench): Promise<RowOutcome[]> {
  const outcomes: RowOutcome[] = []
  for (const size of sizes) {
    const { memories, isJudged } = size
    if (!isJudged && bench.options.only === null) continue
    if (!bench.selects(readyId(memories)) && !bench.selects(searchId(memories))) continue
    bench.signal.throwIfAborted()
    const rows = rowsOf(bench, size, await measure(bench, size))
    for (const { id, measured, unit, verdict, note } of rows) {
      const figure = measured === null ? '-' : formatFigure(measured)
      bench.progress(`${id}: ${figure} ${unit}, ${verdict}; ${note}`)
    }
    outcomes.push(...rows.filter(({ id }) => bench.selects(id)))
  }
  return outcomes
}

async function measure(bench: MemoryBench, size: Size): Promise<Measured> {
  const { memories, queries } = bench.options.quick ? quick : size
  const dataDir = join(bench.folder, `memories-${size.memories}`)
  const texts = new MemoryTexts(seed)
  await fill(dataDir, texts, memories, bench.signal)
  const { apiKey, signal } = bench
  const server = await ServerProcess.start({ dataDir, apiKey, command: 'node' }, signal)
  try {
    const beganAtMs = performance.now()
    // A size that nothing is promised of has no bound of memory either.
    if (size.isJudged) bench.memory.watch(`memories-${memories}`, server)
    else server.watchMemory()
    const url = new URL(server.url)
    const [searcher, prober] = await Promise.all([
      HttpConnection.open(url),
      HttpConnection.open(url),
    ])
    try {
      const ask = (body: Readonly<Record<string, unknown>>) => search(searcher, url, apiKey, body)
      const building = new AbortController()
      const probing = probeHealth(prober, url, building.signal)
      // What the probe meets is looked at when it is done.
      probing.catch(() => undefined)
      await readiness(() => ask(texts.query(0).body), signal)
      const readySeconds = (performance.now() - beganAtMs) / 1_000
      building.abort()
      const health = summariseLatency(await probing)
      const bytesMax = server.takeAnonBytesMax()
      await sleep(idleMs, undefined, { signal })
      const idleBytes = server.anonBytes
      return {
        readySeconds,
        health,
        bytesMax,
        idleBytes,
        ...(await runQueries(ask, texts, queries)),
      }
    } finally {
      searcher.close()
      prober.close()
    }
  } finally {
    await server.stop()
  }
}

async function fill(
  dataDir: string,
  texts: MemoryTexts,
  memories: number,
  signal: AbortSignal,
): Promise<void> {
  const path = join(dataDir, 'store')
  const store = openStore({ path, durability: 'commit', maxBytes: storeBytesMax })
  try {
    for (let done = 0; done < memories; done += fillCommitMemories) {
      signal.throwIfAborted()
      const count = Math.min(fillCommitMemories, memories - done)
      const rows = Array.from({ length: count }, () => texts.memory(tenant))
      await store.commit((transaction) => {
        for (const row of rows) transaction.createMemory(row)
      })
    }
  } finally {
    await store.close()
  }
}

interface Answer {
  readonly status: number
  readonly total: number
}

async function search(
  connection: HttpConnection,
  url: URL,
  apiKey: string,
  body: Readonly<Record<string, unknown>>,
): Promise<Answer> {
  const head =
    `POST /api/v1/memories/search HTTP/1.1\r\nhost: ${url.host}\r\nx-api-key: ${apiKey}\r\n` +
    'content-type: application/json\r\n'
  const text = JSON.stringify(body)
  const target = Buffer.alloc(headBytesMax + Buffer.byteLength(text))
  target.write(text, headBytesMax)
  const reply = await connection.send(frameRequest(target, head, target.length - headBytesMax))
  const { total = 0 } = JSON.parse(reply.body) as { total?: number }
  if (reply.status !== 200 && reply.status !== 503) {
    throw new Error(`a search got ${reply.status} ${reply.body.slice(0, 500)}`)
  }
  return { status: reply.status, total }
}

async function readiness(ask: () => Promise<Answer>, signal: AbortSignal): Promise<void> {
  const untilMs = performance.now() + readyTimeoutMs
  while ((await ask()).status !== 200) {
    if (performance.now() > untilMs) throw new Error(`no search within ${readyTimeoutMs} ms`)
    await sleep(readyPollMs, undefined, { signal })
  }
}

async function probeHealth(
  connection: HttpConnection,
  url: URL,
  signal: AbortSignal,
): Promise<number[]> {
  const request = Buffer.from(`GET /health HTTP/1.1\r\nhost: ${url.host}\r\n\r\n`)
  const times: number[] = []
  do {
    const sentAtMs = performance.now()
    const { status } = await connection.send(request)
    if (status !== 200) throw new Error(`/health got ${status}`)
    times.push(performance.now() - sentAtMs)
    await sleep(probeMs)
  } while (!signal.aborted)
  return times
}

async function runQueries(
  ask: (body: Readonly<Record<string, unknown>>) => Promise<Answer>,
  texts: MemoryTexts,
  queries: number,
): Promise<{ readonly search: LatencySummary; readonly kinds: string }> {
  const byKind = new Map<string, number[]>()
  let found = 0
  for (let index = 0; index < queries; index += 1) {
    const { kind, body } = texts.query(index)
    const sentAtMs = performance.now()
    const { status, total } = await ask(body)
    const times = byKind.get(kind) ?? []
    times.push(performance.now() - sentAtMs)
    byKind.set(kind, times)
    if (status !== 200) throw new Error('a search was refused after the first was answered')
    if (total > 0) found += 1
  }
  // Words of the texts, so most are there.
  if (found < queries / 2) throw new Error(`only ${found} of ${queries} searches found anything`)
  const kinds = [...byKind].map(
    ([kind, times]) => `${kind} ${formatFigure(summariseLatency(times).p99Ms)}`,
  )
  return { search: summariseLatency([...byKind.values()].flat()), kinds: kinds.join(', ') }
}

function rowsOf(
  { options }: MemoryBench,
  { memories, isJudged }: Size,
  { readySeconds, health, search: { p50Ms, p99Ms, samples }, kinds, ...memory }: Measured,
): RowOutcome[] {
  const count = memories.toLocaleString('en')
  const judge = (measured: number, allowed: number, note: string) => {
    if (options.quick) return { verdict: 'not judged', note } as const
    if (!isJudged) return { verdict: 'information', note } as const
    return { ...judgeAtMost(measured, allowed), note }
  }
  const healthNote =
    `/health meanwhile p99 ${formatFigure(health.p99Ms)} ms of ${health.samples}; ` +
    `RssAnon ${Math.round(memory.bytesMax / MiB)} MiB at most, ` +
    `${Math.round(memory.idleBytes / MiB)} MiB after`
  return [
    plainOutcome({
      id: readyId(memories),
      table: 'memories',
      label: `${count} memories, from listening to the first search`,
      unit: 's',
      measured: readySeconds,
      serverAnonBytesMax: memory.bytesMax,
      ...judge(readySeconds, readySecondsAllowed, healthNote),
    }),
    plainOutcome({
      id: searchId(memories),
      table: 'memories',
      label: `${count} memories, a search over HTTP, p99`,
      unit: 'ms',
      measured: p99Ms,
      p50Ms,
      p99Ms,
      ...judge(p99Ms, searchMsAllowed, `of ${samples}; p99 by kind: ${kinds}`),
    }),
  ]
}
