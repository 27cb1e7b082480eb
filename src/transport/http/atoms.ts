import { Type } from '@sinclair/typebox'
import { Refusal } from '../../contracts/errors.ts'
import { AtomPage, RecordRow } from '../../contracts/http.ts'
import { hex } from '../../ingest/session-report.ts'
import { limits } from '../../limits.ts'
import { Reply, route } from '../route.ts'
import { findSession, numberCursor, PageQuery, SessionParams } from './session-params.ts'

const scope = 'sessions:read'

export const listAtoms = route({
  method: 'GET',
  path: '/api/streaming/sessions/:sessionId/atoms',
  summary: "A session's blocks, frames and buffers in commit order",
  scope,
  params: SessionParams,
  query: Type.Object(PageQuery),
  replies: { 200: AtomPage },
  errors: ['SESSION_NOT_FOUND'],
  handle: ({ params, query }, context) => {
    const session = findSession(context, context.tenant, params.sessionId)
    const limit = query.limit ?? limits.pageLimitDefault
    const entries = context.store.atoms.list(session.number, numberCursor(query.cursor), limit + 1)
    const next = entries[limit]
    return {
      atoms: entries.slice(0, limit).map((entry) => ({
        seq: entry.seq,
        kind: entry.kind,
        hash: hex(entry.hash),
        bytes: entry.byteLength,
        metadata: entry.metadata,
      })),
      nextCursor: next === undefined ? null : String(next.seq),
    }
  },
})

export const readAtom = route({
  method: 'GET',
  path: '/api/atoms/:hash',
  summary: 'The bytes of an atom',
  scope,
  params: Type.Object({ hash: Type.String({ description: 'SHA-256, hex' }) }),
  replies: { 200: 'application/octet-stream', 304: 'the client has these bytes' },
  errors: ['ATOM_NOT_FOUND'],
  handle: ({ params }, { tenant, store, headers }) => {
    const hash = parseHash(params.hash)
    const etag = `"${params.hash.toLowerCase()}"`
    const caching = { ETag: etag, 'Cache-Control': 'private, max-age=31536000, immutable' }
    if (!store.blobs.has(tenant, hash)) throw atomNotFound(params.hash)
    if (matches(headers.get('if-none-match'), etag)) return new Reply(304, null, caching)
    const bytes = store.blobs.get(tenant, hash)
    if (bytes === null) throw atomNotFound(params.hash)
    return new Reply(200, bytes, { ...caching, 'Content-Type': sniff(bytes) })
  },
})

export const readAtomRecord = route({
  method: 'GET',
  path: '/api/atoms/:hash/:index',
  summary: 'One record of a telemetry block, by its address',
  scope,
  params: Type.Object({ hash: Type.String(), index: Type.String() }),
  replies: { 200: RecordRow },
  errors: ['ATOM_NOT_FOUND', 'WORKER_FAILED'],
  handle: async ({ params }, { tenant, records, store }) => {
    const { hash, index } = params
    const digest = parseHash(hash)
    // Only blocks have records: the reader takes what it is given for one.
    const bytes = /^(0|[1-9]\d{0,4})$/.test(index) ? store.blobs.get(tenant, digest) : null
    if (bytes === null || sniff(bytes) !== 'application/octet-stream') throw atomNotFound(hash)
    const text = await records.record(bytes, digest, Number(index))
    if (text === null) throw atomNotFound(hash)
    return new Reply(200, text)
  },
})

function atomNotFound(hash: string): Refusal {
  return new Refusal('ATOM_NOT_FOUND', { fields: { hash } })
}

function parseHash(text: string): Uint8Array {
  if (!/^[0-9a-f]{64}$/i.test(text)) throw atomNotFound(text)
  return Buffer.from(text, 'hex')
}

function matches(header: string | undefined, etag: string): boolean {
  return header?.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag) ?? false
}

/** Only what we took in as such is named: JPEG by its marker, WAV by its RIFF header. */
function sniff(bytes: Uint8Array): string {
  const head = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(12, bytes.byteLength))
  if (head.subarray(0, 3).toString('hex') === 'ffd8ff') return 'image/jpeg'
  const text = head.toString('latin1')
  return text.startsWith('RIFF') && text.endsWith('WAVE') ? 'audio/wav' : 'application/octet-stream'
}
