import { isUtf8 } from 'node:buffer'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { limits } from '../../src/limits.ts'
import { startServer, type TestServer } from '../support/server.ts'
import type { CargoKind } from './cargo.ts'
import { CleanUps } from './clean-ups.ts'
import type { Fault, FaultOrder, FaultReport } from './fault.ts'
import { FuzzBodies } from './fuzz-bodies.ts'
import { type Counts, isOfParser, judgeReply } from './fuzz-judge.ts'
import { type FuzzRequest, type FuzzTarget, fuzzRequest } from './fuzz-requests.ts'
import { FuzzSocket } from './fuzz-socket.ts'
import { partSeed, Random } from './random.ts'
import { StallWatch } from './stall-watch.ts'
import { count } from './trials.ts'
import { Wire, type WireReply } from './wire.ts'

/** Requests to the same sessions; then these are ended, counted, and others started. */
const eraBodies = 20_000
/** Every so many bodies one goes over a WebSocket. */
const socketEvery = 7
const connections = 24
const failuresShownMax = 20
const bodyBytesShown = 300
/** In torture: a thread of decoding beside the event loop leaves neither waiting for two processors. */
const thoroughEnv = { ATOMSTREAM_WORKERS: '1' }

export const fuzzFault: Fault = {
  name: 'nasty JSON and fuzzed bodies',
  holds:
    'no 5xx but 503, no crash, documented errors, kept as acknowledged; in torture also: event loop stall < 100 ms',
  runs: { test: 10_000, torture: 1_000_000 },
  inflict,
}

const kinds: readonly CargoKind[] = ['telemetry', 'video', 'audio']

interface FuzzSession extends Counts {
  readonly id: string
}

/** What one whole run of the fault knows. */
interface Campaign {
  readonly order: FaultOrder
  readonly server: TestServer
  readonly failures: string[]
  readonly statuses: Map<string, number>
  kept: number
  done: number
}

async function inflict(order: FaultOrder): Promise<FaultReport> {
  const scope = new CleanUps()
  const dataDir = join(order.folder, 'data')
  await mkdir(dataDir)
  try {
    const env = order.thorough ? thoroughEnv : {}
    const server = await startServer(scope, { dataDir, env })
    const failures: string[] = []
    const campaign = { order, server, failures, statuses: new Map(), kept: 0, done: 0 }
    const watch = order.thorough
      ? new StallWatch(scope, server, () => `after about ${count(requests(campaign))} requests`)
      : null
    try {
      while (campaign.done < order.runs && !order.signal.aborted) {
        await fuzzEra(campaign, Math.min(order.runs, campaign.done + eraBodies))
      }
    } catch (error) {
      failures.push(error instanceof Error ? (error.stack ?? error.message) : String(error))
    }
    const stall = await watch?.stop()
    await judgeServer(campaign)
    failures.push(...(stall?.failures ?? []))
    const measured = [measuredText(campaign), ...(stall ? [stall.measured] : [])].join('; ')
    return { runs: campaign.done, measured, failures: failures.slice(0, failuresShownMax) }
  } finally {
    await scope.run()
  }
}

/** Sends the bodies up to number `end` and compares what is stored with what was acknowledged. */
async function fuzzEra(campaign: Campaign, end: number): Promise<void> {
  const { order } = campaign
  const bodies = await FuzzBodies.make(partSeed(order.seed, campaign.done))
  const sessions = new Map<CargoKind, FuzzSession>()
  for (const kind of kinds) sessions.set(kind, await startSession(campaign, kind))
  const overHttp: number[] = []
  const overSocket: number[] = []
  for (let number = campaign.done; number < end; number += 1) {
    const isMessage = number % socketEvery === 0
    ;(isMessage ? overSocket : overHttp).push(number)
  }
  await Promise.all([
    ...Array.from({ length: connections }, () => {
      return fuzzConnection(campaign, bodies, sessions, overHttp)
    }),
    fuzzSockets(campaign, bodies, overSocket),
  ])
  if (order.signal.aborted) return
  for (const session of sessions.values()) await compareStored(campaign, session)
  campaign.done = end
  order.say(measuredText(campaign))
}

/** Takes numbers from the list until it is empty. */
async function fuzzConnection(
  campaign: Campaign,
  bodies: FuzzBodies,
  sessions: ReadonlyMap<CargoKind, FuzzSession>,
  numbers: number[],
): Promise<void> {
  const { order, server } = campaign
  const idOf = (kind: CargoKind) => sessions.get(kind)?.id ?? ''
  const target: FuzzTarget = {
    host: new URL(server.url).host,
    key: server.key,
    sessionIds: { telemetry: idOf('telemetry'), video: idOf('video'), audio: idOf('audio') },
  }
  const wire = new Wire(server.url)
  try {
    for (let number = numbers.pop(); number !== undefined; number = numbers.pop()) {
      if (order.signal.aborted) return
      const made = fuzzRequest(bodies, target, bodySource(campaign, number))
      const reply = await wire.send(made.bytes, made.isMangled)
      const session = made.upload === null ? null : (sessions.get(made.upload) ?? null)
      const wrong = judge(campaign, made, reply, session)
      if (wrong !== null) fail(campaign, number, `${made.origin}: ${wrong}`, made.bytes)
    }
  } finally {
    wire.close()
  }
}

/** A head that was damaged may be refused by the parser, or left without a reply; nothing else may. */
function judge(
  campaign: Campaign,
  { isMangled }: FuzzRequest,
  reply: WireReply | null,
  session: FuzzSession | null,
): string | null {
  if (reply === null) {
    tally(campaign, 'damaged heads without reply')
    return isMangled ? null : 'the connection was closed without a reply'
  }
  if (isMangled && isOfParser(reply)) {
    tally(campaign, 'damaged heads refused by the parser')
    return null
  }
  tally(campaign, `${reply.status}`)
  return judgeReply(reply, session)
}

/** The messages of an era, over a WebSocket of each kind; some messages end its session. */
async function fuzzSockets(
  campaign: Campaign,
  bodies: FuzzBodies,
  numbers: readonly number[],
): Promise<void> {
  const { order, server } = campaign
  const open = new Map<CargoKind, { socket: FuzzSocket; session: FuzzSession }>()
  const settle = async (kind: CargoKind) => {
    const old = open.get(kind)
    if (old === undefined) return
    await old.socket.settled()
    await compareStored(campaign, old.session)
    old.socket.close()
    open.delete(kind)
  }
  for (const number of numbers) {
    if (order.signal.aborted) break
    const random = bodySource(campaign, number)
    const { kind, encoding, bytes, origin } = bodies.nextMessage(random)
    if (open.get(kind)?.socket.isClosed) await settle(kind)
    let current = open.get(kind)
    if (current === undefined) {
      const session = await startSession(campaign, kind)
      const url = `${server.url.replace('http', 'ws')}${pathOf(session)}/ws`
      current = { socket: await FuzzSocket.open(url, server.key, session), session }
      open.set(kind, current)
    }
    // Text that is not UTF-8 is no message: the library closes the WebSocket.
    const isBinary = encoding === 'msgpack' || !isUtf8(bytes)
    await current.socket.send(bytes, isBinary)
    for (const wrong of current.socket.takeComplaints()) {
      fail(campaign, number, `${origin} or a message before it: ${wrong}`, bytes)
    }
    tally(campaign, 'messages')
  }
  for (const kind of [...open.keys()]) await settle(kind)
}

async function startSession({ server }: Campaign, kind: CargoKind): Promise<FuzzSession> {
  const settings = { sessionType: kind, maxBatchDelayMs: 100 }
  const { sessionId } = await server.client.start(settings)
  return { id: sessionId, received: 0, kept: 0, rejected: 0 }
}

/** Ends the session: what it holds must be what its uploads were told. */
async function compareStored(campaign: Campaign, session: FuzzSession): Promise<void> {
  const { client } = campaign.server
  const { id, received, kept, rejected } = session
  await client.end(id)
  const { statistics, sessionType } = await client.status(id)
  const atoms = await client.atoms(id, { limit: limits.pageLimitMax })
  const isTelemetry = sessionType === 'telemetry'
  const items = isTelemetry ? await client.records(id, { limit: limits.pageLimitMax }) : atoms
  const told = { received, kept, rejected, items: kept }
  const stored = {
    received: statistics.totalRecordsReceived,
    kept: statistics.totalAtomsCreated,
    rejected: statistics.totalRecordsRejected,
    items: items.length,
  }
  campaign.kept += stored.kept
  if (!isDeepStrictEqual(told, stored)) {
    campaign.failures.push(
      `a ${sessionType} session told ${JSON.stringify(told)} and holds ${JSON.stringify(stored)}`,
    )
  }
}

/** The process that was started still serves, and has logged nothing worse than a warning. */
async function judgeServer({ server, failures }: Campaign): Promise<void> {
  const reply = server.running ? await server.client.get('/health') : null
  if (reply?.status !== 200) failures.push(`the server has died: ${server.errors.slice(-2_000)}`)
  for (const fact of server.log) {
    if (fact.level === 'error' || fact.level === 'fatal') {
      failures.push(`it logged ${JSON.stringify(fact).slice(0, 500)}`)
    }
  }
}

/** Body `number` comes from this source alone, whatever else is sent. */
function bodySource({ order }: Campaign, number: number): Random {
  return new Random(partSeed(order.seed, number))
}

function pathOf(session: FuzzSession): string {
  return `/api/streaming/sessions/${session.id}`
}

function tally({ statuses }: Campaign, what: string): void {
  statuses.set(what, (statuses.get(what) ?? 0) + 1)
}

function fail({ failures }: Campaign, number: number, text: string, bytes: Buffer): void {
  if (failures.length >= failuresShownMax) return
  const shown = JSON.stringify(bytes.subarray(0, bodyBytesShown).toString('latin1'))
  failures.push(`body ${number}, ${text.slice(0, 500)}; it begins ${shown}`)
}

function requests({ statuses }: Campaign): number {
  return [...statuses.values()].reduce((sum, times) => sum + times, 0)
}

function measuredText({ statuses, kept, done }: Campaign): string {
  const counts = [...statuses]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([what, times]) => `${what}: ${count(times)}`)
  return `${count(done)} bodies (${counts.join(', ')}), ${count(kept)} items kept as acknowledged`
}
