import { decodeEvent } from '../events.ts'
import type { JobRow } from '../interfaces.ts'
import { encodeIndexed, isOpenMedia } from '../jobs.ts'
import { keyNumber, numberKey, readNumber, textKey } from '../keys.ts'
import { decodeTenant, type TenantRow } from '../tenants.ts'
import { Follower, type Inspection } from './inspection.ts'
import { checkMemories, finishMemories, memoryTables } from './memories.ts'
import { hex } from './occurrences.ts'

/**
 * Every tenant: its events without a gap, its memories and its bytes counted again. All else has been counted
 * by now.
 */
export function checkTenants(inspection: Inspection): void {
  const events = new Follower(inspection, 'events', 'tenant')
  const memories = memoryTables(inspection)
  for (const { key, value } of inspection.entries('tenants')) {
    const tenant = keyNumber(key, 0)
    const row = inspection.attempt('tenant', { tenant }, () => decodeTenant(tenant, value))
    if (row === null) continue
    checkEvents(inspection, row, events)
    checkMemories(inspection, row, memories)
    inspection.compare('tenant', { tenant }, 'bytes', row.bytes, inspection.takeBytes(tenant))
  }
  events.finish()
  finishMemories(memories)
  for (const tenant of inspection.leftTenants()) {
    inspection.damage('tenant', { tenant }, 'a row with its counters', 'none')
  }
}

function checkEvents(inspection: Inspection, row: TenantRow, entries: Follower): void {
  const { tenant } = row
  let number = row.firstEvent
  for (const { key, value } of entries.of(tenant)) {
    const found = keyNumber(key, 1)
    inspection.compare('event', { tenant }, 'number', number, found)
    number = found + 1
    inspection.counts.events += 1
    inspection.addBytes(tenant, key.byteLength + value.byteLength)
    const place = { tenant, event: found }
    const event = inspection.attempt('event', place, () => {
      const read = decodeEvent({ key, value })
      JSON.parse(read.data)
      return read
    })
    if (event !== null && event.session !== null) {
      checkEventOwner(inspection, place, event.session, found)
    }
  }
  inspection.compare('tenant', { tenant }, 'event after the last', row.lastEvent + 1, number)
}

/**
 * A session that retention has taken or is taking has no index any more, and its last event goes
 * last.
 */
function checkEventOwner(
  inspection: Inspection,
  where: Readonly<Record<string, string | number>>,
  session: number,
  event: number,
): void {
  const { snapshot } = inspection
  if (snapshot.table('session-events').has(numberKey(session, event))) return
  const isThere = snapshot.table('sessions').has(numberKey(session))
  if (isThere && !inspection.rows.sessions.isDropping(session)) {
    inspection.damage('event', where, 'listed by its session', 'not listed')
  } else if (session > inspection.rows.sessions.lastNumber()) {
    inspection.damage('event', where, 'a session that was there', `session ${session}`)
  }
}

export function checkJobs(inspection: Inspection): void {
  const { rows, snapshot } = inspection
  const last = rows.jobs.lastNumber()
  for (const { key } of inspection.entries('jobs')) {
    const number = keyNumber(key, 0)
    inspection.counts.jobs += 1
    const job = inspection.attempt('job', { job: number }, () => rows.jobs.get(number))
    if (job === null) continue
    const where = { tenant: job.tenant, job: job.id }
    if (number > last) inspection.damage('job', where, `a number up to ${last}`, `${number}`)
    const byId = snapshot.table('job-ids').get(textKey(job.id))
    const found = byId === null ? null : readNumber(byId, 0)
    inspection.compare('job', where, 'number behind its id', number, found)
    const listed = snapshot.table('tenant-jobs').get(numberKey(job.tenant, number))
    const listing = listed === null ? null : hex(listed)
    const expected = hex(encodeIndexed(job))
    inspection.compare('job', where, "entry in its tenant's list", expected, listing)
    checkJobSession(inspection, where, job.session, job.endedAtMs !== null)
    checkMediaJob(inspection, where, job)
  }
  for (const { key, value } of inspection.entries('job-ids')) {
    const where = { table: 'job-ids', id: Buffer.from(key).toString() }
    inspection.compare('index', where, 'a job', true, snapshot.table('jobs').has(value))
  }
  for (const { key } of inspection.entries('tenant-jobs')) {
    const number = keyNumber(key, 1)
    const where = { table: 'tenant-jobs', job: number }
    const isThere = snapshot.table('jobs').has(numberKey(number))
    inspection.compare('index', where, 'a job', true, isThere)
  }
  for (const { key } of inspection.entries('open-media-jobs')) {
    const where = { table: 'open-media-jobs', job: keyNumber(key, 0) }
    inspection.compare('index', where, 'a job', true, snapshot.table('jobs').has(key))
  }
}

/** What is told of a file goes with the atoms that were made of it, and open jobs can be found. */
function checkMediaJob(
  inspection: Inspection,
  where: Readonly<Record<string, string | number>>,
  job: JobRow,
): void {
  const { number, kind, media, session, atomsCreated } = job
  const isOpen = isOpenMedia(job)
  const isListed = inspection.snapshot.table('open-media-jobs').has(numberKey(number))
  inspection.compare('job', where, 'listed as open on a file', isOpen, isListed)
  inspection.compare('job', where, 'has a file', kind === 'media', media !== null)
  if (media !== null) {
    inspection.compare('job', where, 'atoms of its file', media.checkpoint.emitted, atomsCreated)
  }
  if (isOpen && session !== null) inspection.addOpenJob(session)
}

/** Retention takes a session before the jobs of it that have ended. */
function checkJobSession(
  inspection: Inspection,
  where: Readonly<Record<string, string | number>>,
  session: number | null,
  hasEnded: boolean,
): void {
  if (session === null) return
  if (inspection.snapshot.table('sessions').has(numberKey(session))) return
  if (hasEnded && session <= inspection.rows.sessions.lastNumber()) return
  inspection.damage('job', where, 'a session that is there', `session ${session}`)
}

/** Schemas and API keys can be read and stand under what they say of themselves. */
export function checkRegistries(inspection: Inspection): void {
  const { rows, counts } = inspection
  for (const { key } of inspection.entries('schemas')) {
    counts.schemas += 1
    const tenant = keyNumber(key, 0)
    const [name = '', version = ''] = Buffer.from(key).subarray(8).toString().split('\0')
    const where = { tenant, schema: name, version }
    const schema = inspection.attempt('schema', where, () =>
      rows.schemas.get(tenant, name, version),
    )
    inspection.compare('schema', where, 'name', name, schema?.schemaName ?? null)
    inspection.compare('schema', where, 'version', version, schema?.schemaVersion ?? null)
  }
  for (const { key } of inspection.entries('api-keys')) {
    counts.apiKeys += 1
    inspection.attempt('API key', { digest: hex(key) }, () => rows.apiKeys.byDigest(key))
  }
  for (const { key } of inspection.entries('told-keys')) {
    const where = { table: 'told-keys', digest: hex(key) }
    const isThere = inspection.snapshot.table('api-keys').has(key)
    inspection.compare('index', where, 'an API key', true, isThere)
  }
}
