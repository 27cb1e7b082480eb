import { createHash } from 'node:crypto'
import type { AtomRow, JobStatusReply } from '../../src/contracts/http.ts'
import { Client, chainOf, type ReadRecord } from '../support/client.ts'
import { eventNumber, openEvents, type ReceivedEvent } from '../support/sse.ts'
import { type Cargo, numberMembers, valuesOf } from './cargo.ts'
import type { Ledger } from './ledger.ts'

const pageLimit = 10_000
/** Blobs of a session that are read and compared. */
const blobsCompared = 5
/** Of many items that are wrong in the same way the first tell enough. */
const itemsShown = 5

/** Where an item was found: which block or batch holds it, and at what place there. */
interface Found {
  readonly n: number
  readonly group: string
  readonly place: number
}

/**
 * Compares an ended session with what its clients know of it: every acknowledged item is there once,
 * nothing of a refused upload is, uploads are whole and lie together in one batch, the hash chain and
 * the counters fit the atoms, and the events tell of every batch once. Gives what is wrong.
 */
export async function auditSession(url: string, ledger: Ledger, cargo: Cargo): Promise<string[]> {
  const client = new Client(url, ledger.tenant.key)
  const wrong: string[] = []
  const atoms = (await readAll(client, `${ledger.path}/atoms`, 'atoms')) as AtomRow[]
  const found =
    ledger.kind === 'telemetry'
      ? placeRecords(await readAll(client, `${ledger.path}/records`, 'records'), wrong)
      : placeAtoms(atoms, ledger.kind)
  compareItems(ledger, found, wrong)
  if (chainOf(atoms) !== ledger.finalHash) wrong.push('the hash chain does not verify')
  if (ledger.kind !== 'telemetry') await compareBlobs(client, ledger, atoms, cargo, wrong)
  await compareCounters(client, ledger, wrong)
  compareEvents(await readEvents(client, ledger), ledger, wrong)
  await compareJobs(client, ledger, wrong)
  return wrong.map((text) => `tenant ${ledger.tenant.number} ${ledger.kind} session: ${text}`)
}

async function readAll(client: Client, path: string, list: string): Promise<unknown[]> {
  const rows: unknown[] = []
  let cursor: string | null = null
  do {
    const query = { limit: pageLimit, ...(cursor === null ? {} : { cursor }) }
    const reply = await client.get(path, query)
    if (reply.status !== 200) throw new Error(`${path} got ${reply.status} ${reply.text}`)
    const page = reply.json as Record<string, unknown>
    rows.push(...(page[list] as unknown[]))
    cursor = page.nextCursor as string | null
  } while (cursor !== null)
  return rows
}

function placeRecords(rows: readonly unknown[], wrong: string[]): Found[] {
  return (rows as ReadRecord[]).map(({ values, address }) => {
    const n = Number(values.n)
    for (const [name, value] of Object.entries(valuesOf(n))) {
      if (values[name] !== value) wrong.push(`record ${n} bears ${JSON.stringify(values)}`)
    }
    const [group = '', place = ''] = address.split('/')
    return { n, group, place: Number(place) }
  })
}

function placeAtoms(atoms: readonly AtomRow[], kind: 'video' | 'audio'): Found[] {
  return atoms.map(({ seq, metadata }) => ({
    n: Number(metadata[numberMembers[kind]]),
    group: String(metadata.batchId),
    place: seq,
  }))
}

/** Every upload is there once and in one piece, or not at all. */
function compareItems(ledger: Ledger, found: readonly Found[], wrong: string[]): void {
  const places = new Map<number, Found>()
  const twice: number[] = []
  for (const item of found) {
    if (places.has(item.n)) twice.push(item.n)
    places.set(item.n, item)
  }
  tell(wrong, 'duplicated', twice)
  const lost: number[] = []
  const kept: number[] = []
  let known = 0
  for (const { first, count, outcome } of ledger.uploads) {
    if (outcome === 'open') wrong.push(`the upload from ${first} on was never answered`)
    const items = Array.from({ length: count }, (_, index) => first + index)
    const there = items.filter((n) => places.has(n))
    known += there.length
    if (outcome === 'refused') kept.push(...there)
    if (outcome !== 'acknowledged') continue
    lost.push(...items.filter((n) => !places.has(n)))
    const start = places.get(first)
    const isWhole = items.every((n, index) => {
      const item = places.get(n)
      return item?.group === start?.group && item?.place === (start?.place ?? 0) + index
    })
    if (there.length === count && !isWhole) wrong.push(`the upload from ${first} on is in pieces`)
  }
  tell(wrong, 'acknowledged and lost', lost)
  tell(wrong, 'refused and kept', kept)
  if (known !== places.size) wrong.push(`${places.size - known} items that nobody has sent`)
}

function tell(wrong: string[], what: string, items: readonly number[]): void {
  if (items.length === 0) return
  const more = items.length > itemsShown ? ' …' : ''
  wrong.push(`${items.length} items ${what}: ${items.slice(0, itemsShown).join(', ')}${more}`)
}

async function compareBlobs(
  client: Client,
  ledger: Ledger,
  atoms: readonly AtomRow[],
  cargo: Cargo,
  wrong: string[],
): Promise<void> {
  if (ledger.kind === 'telemetry') return
  const member = numberMembers[ledger.kind]
  for (const { metadata, hash } of atoms.slice(-blobsCompared)) {
    const n = Number(metadata[member])
    const bytes = cargo.bytes(ledger.kind, n)
    const expected = createHash('sha256').update(bytes).digest('hex')
    const reply = await client.get(`/api/atoms/${hash}`)
    if (hash !== expected || !reply.bytes.equals(bytes)) wrong.push(`item ${n} has other bytes`)
  }
}

async function compareCounters(client: Client, ledger: Ledger, wrong: string[]): Promise<void> {
  const { status, statistics, finalHash } = await client.status(ledger.sessionId)
  const items = ledger.acknowledgedItems
  const { totalRecordsReceived, totalAtomsCreated, totalRecordsQueued } = statistics
  if (status !== 'completed' && status !== 'cancelled') wrong.push(`it is ${status}`)
  if (totalRecordsReceived !== items || totalAtomsCreated !== items || totalRecordsQueued !== 0) {
    wrong.push(`${items} items were acknowledged, it counts ${JSON.stringify(statistics)}`)
  }
  if (finalHash !== ledger.finalHash) wrong.push('its final hash has changed')
}

async function readEvents(client: Client, ledger: Ledger): Promise<readonly ReceivedEvent[]> {
  const reader = await openEvents(`${client.url}${ledger.path}/events`, client.headers)
  return reader.whole()
}

/** Started first, ended last, and between them each batch once: received, then processed. */
function compareEvents(events: readonly ReceivedEvent[], ledger: Ledger, wrong: string[]): void {
  const received = new Map<string, unknown>()
  let atoms = 0
  let last = 0
  for (const event of events) {
    const number = eventNumber(event)
    if (number <= last) wrong.push(`event ${number} comes after ${last}`)
    last = number
    const batch = String(event.data.batchId)
    if (event.name === 'batch-received') {
      if (received.has(batch)) wrong.push(`${batch} is received twice`)
      received.set(batch, event.data.recordCount)
    } else if (event.name === 'batch-processed') {
      if (received.get(batch) !== event.data.atomsCreated) {
        wrong.push(`${batch} is processed with ${event.data.atomsCreated} atoms, or twice`)
      }
      received.set(batch, null)
      atoms += Number(event.data.atomsCreated)
    } else if (event.name === 'gap' || event.name === 'error') {
      wrong.push(`event ${number} is ${event.name}: ${JSON.stringify(event.data)}`)
    }
  }
  const starts = events.filter(({ name }) => name === 'session-started').length
  if (events[0]?.name !== 'session-started' || starts !== 1) wrong.push(`${starts} start events`)
  if (atoms !== ledger.acknowledgedItems) wrong.push(`its batches sum up to ${atoms} atoms`)
  const open = [...received].filter(([, count]) => count !== null)
  if (open.length > 0) wrong.push(`${open.length} batches are received and never processed`)
}

async function compareJobs(client: Client, ledger: Ledger, wrong: string[]): Promise<void> {
  if (ledger.jobs.size === 0) return
  const path = '/api/streaming/jobs'
  const jobs = new Map<string, JobStatusReply>()
  let cursor: string | null = null
  do {
    const query = { sessionId: ledger.sessionId, limit: 1_000, ...(cursor ? { cursor } : {}) }
    const reply = await client.get(path, query)
    const page = reply.json as { jobs: JobStatusReply[]; nextCursor: string | null }
    for (const job of page.jobs) jobs.set(job.jobId, job)
    cursor = page.nextCursor
  } while (cursor !== null)
  for (const id of ledger.jobs) {
    const status = jobs.get(id)?.status
    if (status !== 'completed') wrong.push(`${id} is ${status ?? 'unknown'}`)
  }
}
