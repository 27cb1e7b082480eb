import { randomBytes } from 'node:crypto'
import { newApiKey } from '../../src/cli/keys.ts'
import { loadConfig, storeOptions } from '../../src/config.ts'
import { JobStarted, JobStatusReply, type StartSession } from '../../src/contracts/http.ts'
import { Memory } from '../../src/contracts/memory.ts'
import { type Scope as KeyScope, type Store, scopes } from '../../src/store/interfaces.ts'
import { openStore } from '../../src/store/store.ts'
import type { Client } from '../support/client.ts'
import { jpegFrame, wavBuffer } from '../support/media.ts'
import { type Scope, startServer, type TestServer } from '../support/server.ts'
import { eventually } from '../support/waiting.ts'

const time = '2025-01-20T10:30:00.000Z'

/** Path segments of one thing, as they stand in a URL. */
export type Segments = readonly string[]

/** One tenant with something of every kind. */
export interface Tenant {
  readonly number: number
  /** Stands in every name, metadata and value of the tenant, and nowhere else. */
  readonly marker: string
  /** Holds every scope. */
  readonly key: string
  readonly sessionIds: string[]
  /** What nobody else may ever be shown. */
  readonly secrets: Set<string>
  /** Its things, by the parameters of the routes that take them: `name/version` for a schema. */
  readonly things: Map<string, Segments[]>
}

export type KeyName = 'none' | 'wrong' | 'revoked' | KeyScope

export interface World {
  readonly server: TestServer
  /** Asks with every kind of key. */
  readonly attacker: Tenant
  /** Is asked for, and must stay unseen and unchanged. */
  readonly victim: Tenant
  /** The attacker's keys; null is none. */
  readonly keys: ReadonlyMap<KeyName, string | null>
}

/** Well-formed names of things that nobody has, by the parameters of the routes that take them. */
export const unknownThings: ReadonlyMap<string, Segments> = new Map([
  ['sessionId', [`stream-session-${'0'.repeat(32)}`]],
  ['hash', ['0'.repeat(64)]],
  ['hash/index', ['0'.repeat(64), '0']],
  ['name/version', ['unregistered', '1.0.0']],
  ['jobId', [`job-${'0'.repeat(32)}`]],
  ['deadLetterId', [`dlq-${'0'.repeat(32)}`]],
  ['memoryId', ['mem_000000000000ffff']],
])

/**
 * A server with two tenants. Keys go into the store before it starts, as `keys create` puts them, and
 * dead letters while it is stopped, as a failing batch makes them.
 */
export async function createWorld(scope: Scope, folder: string): Promise<World> {
  const keys = new Map<KeyName, string | null>([
    ['none', null],
    ['wrong', `as_${randomBytes(32).toString('base64url')}`],
  ])
  const put = async (
    store: Store,
    tenant: number,
    held: KeyScope[],
    revokedAtMs: number | null,
  ) => {
    const { key, row } = newApiKey({ tenant, user: `user-${tenant}`, scopes: held })
    await store.commit((transaction) => transaction.putApiKey({ ...row, revokedAtMs }))
    return { key, id: row.id }
  }
  const victimKey = await withStore(folder, async (store) => {
    keys.set('revoked', (await put(store, 11, ['admin'], Date.now())).key)
    for (const name of scopes) keys.set(name, (await put(store, 11, [name], null)).key)
    return put(store, 22, ['admin'], null)
  })
  const attacker = newTenant(11, keys.get('admin') ?? '')
  const victim = newTenant(22, victimKey.key)
  victim.secrets.add(victimKey.id)
  const filling = await startServer(scope, { dataDir: folder })
  for (const [index, tenant] of [attacker, victim].entries()) {
    const client = filling.clientWith(tenant.key)
    await fill(tenant, client)
    await fillMemories(tenant, client, index * memoriesPassedOver)
  }
  await filling.stop()
  await withStore(folder, async (store) => {
    for (const tenant of [attacker, victim]) await buryBatch(store, tenant)
  })
  const server = await startServer(scope, { dataDir: folder })
  return { server, attacker, victim, keys }
}

async function withStore<T>(folder: string, work: (store: Store) => Promise<T>): Promise<T> {
  const store = openStore(storeOptions(loadConfig(['--data-dir', folder], {})))
  try {
    return await work(store)
  } finally {
    await store.close()
  }
}

function newTenant(number: number, key: string): Tenant {
  const marker = `orchid${number}x${randomBytes(6).toString('hex')}`
  return { number, marker, key, sessionIds: [], secrets: new Set([marker]), things: new Map() }
}

/** Sessions of each type and in several states, atoms, rejected records, a job and a schema. */
async function fill(tenant: Tenant, client: Client): Promise<void> {
  const { marker } = tenant
  const records = [0, 1, 2].map((index) => ({
    timestamp: time,
    values: { [`${marker}_field`]: index === 2 ? 'no number' : index, text: marker },
  }))
  const fields = [{ name: `${marker}_field`, type: 'integer' as const, required: true }]
  const named = { schemaName: marker, schemaVersion: '1.0.0', fields }
  await client.raw('POST', '/api/streaming/schemas', { json: named })
  const schema = { name: marker, version: '1.0.0' }
  const telemetry: StartSession = { sessionType: 'telemetry', batchSize: 2, schema }

  // Its batch stays open: see buryBatch.
  const queued = await start(tenant, client, { ...telemetry, maxBatchDelayMs: 3_600_000 })
  await client.upload(queued, { records: records.slice(0, 1) })
  const active = await start(tenant, client, telemetry)
  await client.upload(active, { records })
  for (const move of ['pause', 'cancel', 'end']) {
    const id = await start(tenant, client, telemetry)
    await client.upload(id, { records })
    await client.raw('POST', client.session(id, move))
  }
  const video = await fillMedia(tenant, client)
  const block = (await client.atoms(active))[0]?.hash ?? ''
  const image = (await client.atoms(video))[0]?.hash ?? ''
  const job = await runJob(client, active, records)
  for (const secret of [...tenant.sessionIds, block, image, job]) tenant.secrets.add(secret)
  tenant.things.set(
    'sessionId',
    tenant.sessionIds.map((id) => [id]),
  )
  tenant.things.set('hash', [[block], [image]])
  tenant.things.set('hash/index', [[block, '0']])
  tenant.things.set('name/version', [[marker, '1.0.0']])
  tenant.things.set('jobId', [[job]])
}

/**
 * One memory. Their numbers count up from 1 in each tenant, and nobody's thing may have the number of
 * somebody else's: so `passedOver` of them are deleted.
 */
async function fillMemories(tenant: Tenant, client: Client, passedOver: number): Promise<void> {
  const { marker, number } = tenant
  const path = '/api/v1/memories'
  const metadata = { marker, number }
  const json = { content: `secret of ${marker}`, title: marker, tags: [marker], metadata }
  const make = async () => (await client.raw('POST', path, { json })).as(Memory, 201).id
  const others = await Promise.all(Array.from({ length: passedOver }, make))
  tenant.things.set('memoryId', [[await make()]])
  await Promise.all(others.map((id) => client.raw('DELETE', `${path}/${id}`)))
}

/** More than the attacker makes while it asks. */
const memoriesPassedOver = 400

/** A video and an audio session; gives the id of the first. */
async function fillMedia(tenant: Tenant, client: Client): Promise<string> {
  const { number } = tenant
  const size = { width: 32, height: 24 }
  const imageData = base64(await jpegFrame({ ...size, seed: number, quality: 80 }))
  const video = await start(tenant, client, { sessionType: 'video', batchSize: 1 })
  const frame = { frameNumber: 1, timestamp: time, imageData, format: 'jpeg', ...size }
  await client.upload(video, { frames: [frame] })
  const audio = await start(tenant, client, { sessionType: 'audio', batchSize: 1 })
  const format = { format: 'wav', sampleRate: 16_000, channels: 1, bitDepth: 16 }
  const audioData = base64(wavBuffer({ ...format, bitDepth: '16', seed: number }))
  await client.upload(audio, {
    buffers: [{ bufferNumber: 1, timestamp: time, audioData, ...format }],
  })
  return video
}

/** An upload that answers with a job, once that has ended. */
async function runJob(client: Client, sessionId: string, records: unknown[]): Promise<string> {
  const reply = await client.raw('POST', client.session(sessionId, 'upload'), {
    json: { records },
    headers: { prefer: 'respond-async' },
  })
  const { jobId } = reply.as(JobStarted, 202)
  await eventually(async () => {
    const job = (await client.get(`/api/streaming/jobs/${jobId}/status`)).as(JobStatusReply)
    return job.status === 'completed' ? job : undefined
  }, `the end of ${jobId}`)
  return jobId
}

/** Gives up the batch of the tenant's first session, whose upload is in the journal. */
async function buryBatch(store: Store, tenant: Tenant): Promise<void> {
  const { marker } = tenant
  const row = store.sessions.find(tenant.number, tenant.sessionIds[0] ?? '')
  const waiting = store.journal.pending().find(({ session }) => session === row?.number)
  if (waiting === undefined) throw new Error('no upload waits in the journal')
  const { session, batch, records } = waiting
  const code = 'BATCH_PROCESSING_FAILED'
  const failed = { code, message: `${marker} failed` }
  const atMs = Date.now()
  const id = `dlq-${randomBytes(16).toString('hex')}`
  await store.commit((transaction) => {
    const draft = transaction.session(session)
    draft.recordsQueued -= records
    draft.recordsDead += records
    draft.deadLetters += 1
    transaction.putDeadLetter({
      id,
      tenant: tenant.number,
      session,
      batch,
      records,
      ...failed,
      history: [{ attempt: 1, atMs, ...failed }],
      firstFailedAtMs: atMs,
      deadAtMs: atMs,
    })
  })
  tenant.secrets.add(id)
  tenant.things.set('deadLetterId', [[id]])
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64')
}

async function start(tenant: Tenant, client: Client, request: StartSession): Promise<string> {
  const { marker } = tenant
  const { sessionId } = await client.start({
    ...request,
    sessionName: `${marker} name`,
    metadata: { [`${marker} key`]: `${marker} value` },
  })
  tenant.sessionIds.push(sessionId)
  return sessionId
}
