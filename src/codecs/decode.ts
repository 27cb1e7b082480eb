import { createHash } from 'node:crypto'
import { invalidBody, Refusal } from '../contracts/errors.ts'
import type { DecodeUpload, DecodeVerdict } from '../contracts/tasks.ts'
import { MessageRefusal, openUpload, uploadBytes } from './body.ts'
import { isDocument } from './document.ts'
import { decodeBuffers, decodeFrames } from './media.ts'
import { decodeTelemetry } from './telemetry/decode.ts'
import { scanUpload } from './telemetry/scan-upload.ts'

type Opened = ReturnType<typeof openUpload>
type Accepted = Extract<DecodeVerdict, { kind: 'accepted' }>

/**
 * Decodes and validates one upload body or WebSocket message. Whatever is wrong with it comes back
 * as a `refused` verdict; a rejection means a bug.
 */
export async function decodeUpload(upload: DecodeUpload): Promise<DecodeVerdict> {
  let id: DecodeVerdict['id'] = null
  try {
    const bytes = uploadBytes(upload)
    const scanned = scanUpload(upload, bytes)
    if (scanned !== null) {
      return upload.fingerprint ? { ...scanned, fingerprint: fingerprintOf(scanned, {}) } : scanned
    }
    const own = ownUpload(upload)
    const opened = openUpload(own, own === upload ? bytes : uploadBytes(own))
    id = opened.id
    if (upload.envelope === 'message') {
      const control = readControl(upload, opened)
      if (control !== null) return control
    }
    const { idempotencyKey } = opened
    const content = await decodeContent(own, opened)
    const isAsked = upload.fingerprint || idempotencyKey !== null
    const fingerprint = isAsked ? fingerprintOf(content, opened.document) : null
    return { kind: 'accepted', id, idempotencyKey, fingerprint, ...content }
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
    if (error instanceof MessageRefusal) id = error.id
    const { code, message, detail } = error
    return { kind: 'refused', id, code, message, fields: detail.fields ?? {} }
  }
}

/**
 * An upload that parsers take: shared memory is used again, and some of them refuse it. What was inflated is
 * their own already, and of media in msgpack nothing is kept but the bytes, and those only where they lie.
 */
function ownUpload(upload: DecodeUpload): DecodeUpload {
  const { body, byteLength, settings, format, gzip } = upload
  const isReadInPlace = settings.sessionType !== 'telemetry' && format === 'msgpack'
  if (body instanceof ArrayBuffer || gzip || isReadInPlace) return upload
  return { ...upload, body: new Uint8Array(new Uint8Array(body, 0, byteLength)).buffer }
}

/** A `ping` or `end` message; null where the message bears data of the session's own type. */
function readControl(
  { settings }: DecodeUpload,
  { id, type, document }: Opened,
): Extract<DecodeVerdict, { kind: 'control' }> | null {
  if (type === 'ping' || type === 'end') {
    const { type: _type, id: _id, idempotencyKey: _key, ...options } = document
    return { kind: 'control', id, type, options }
  }
  if (type !== settings.sessionType) {
    throw invalidBody('type', `'${settings.sessionType}', 'ping' or 'end'`)
  }
  return null
}

/**
 * Taken of the decoded content, so that a client may send an upload again as msgpack, or compressed at
 * another level, or with another message id. Of what was rejected only a part is kept, so then all that
 * was sent counts.
 */
function fingerprintOf(
  { received, rejected, content }: Pick<Accepted, 'received' | 'rejected' | 'content'>,
  document: Readonly<Record<string, unknown>>,
): Uint8Array {
  const hash = createHash('sha256').update(String(received))
  if (rejected.count > 0) {
    const sent = Object.values(document).find(Array.isArray) ?? []
    for (const item of sent) hash.update(JSON.stringify(withDigests(item)) ?? '')
  }
  if (content.kind === 'page') hash.update(content.page.hash)
  else
    for (const item of content.items) hash.update(item.hash).update(JSON.stringify(item.metadata))
  return hash.digest()
}

/** Bytes of msgpack as their hash, a hundredth of their text. */
function withDigests(item: unknown): unknown {
  if (!isDocument(item)) return item
  const digested = ([name, value]: [string, unknown]) => [
    name,
    value instanceof Uint8Array ? createHash('sha256').update(value).digest('hex') : value,
  ]
  return Object.fromEntries(Object.entries(item).map(digested))
}

async function decodeContent(
  upload: DecodeUpload,
  { document, bytes }: Opened,
): Promise<Pick<Accepted, 'received' | 'rejected' | 'content'>> {
  const { settings, format, body } = upload
  switch (settings.sessionType) {
    case 'telemetry':
      return decodeTelemetry(document, settings)
    case 'video':
      return decodeFrames(document, { format, bytes, body }, settings)
    case 'audio':
      return decodeBuffers(document, { format, bytes, body }, settings)
  }
}
