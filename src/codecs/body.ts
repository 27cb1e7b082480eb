import { invalidBody, Refusal } from '../contracts/errors.ts'
import type { DecodeUpload, SessionType } from '../contracts/tasks.ts'
import { limits } from '../limits.ts'
import { isDocument } from './document.ts'
import { inflate } from './gzip.ts'
import { parseJson } from './json.ts'
import { parseMsgpack } from './msgpack.ts'

export interface OpenedUpload {
  /** The body without the members of its envelope. */
  readonly document: Readonly<Record<string, unknown>>
  /** The bytes that were parsed: the body itself, or what it was inflated to. */
  readonly bytes: Uint8Array
  readonly id: string | number | null
  readonly idempotencyKey: string | null
  /** Of a message; an upload's is its session's. */
  readonly type: string
}

/** What is wrong with a message whose id is known, so that its sender can tell which it was. */
export class MessageRefusal extends Refusal {
  constructor(
    readonly id: string | number | null,
    cause: Refusal,
  ) {
    super(cause.code, cause.detail)
  }
}

const lists: Record<SessionType, string> = {
  telemetry: 'records',
  video: 'frames',
  audio: 'buffers',
}

/** The bytes of an upload as its format has them. Throws a Refusal as `inflate` does. */
export function uploadBytes({ body, byteLength, gzip }: DecodeUpload): Uint8Array {
  const raw = new Uint8Array(body, 0, byteLength)
  return gzip ? inflate(raw, limits.inflatedBodyBytesMax) : raw
}

/**
 * Parses the bytes of one upload body or WebSocket message and takes its envelope off. Throws a Refusal
 * as `parseJson` and `parseMsgpack` do, INVALID_BODY for a wrong or unknown member.
 */
export function openUpload(upload: DecodeUpload, bytes = uploadBytes(upload)): OpenedUpload {
  // In telemetry a field may bear any name: a bad one costs its record, not the body.
  const protoKeys = upload.settings.sessionType === 'telemetry' ? 'keep' : 'refuse'
  const parsed = upload.format === 'json' ? parseJson(bytes, protoKeys) : parseMsgpack(bytes)
  if (!isDocument(parsed)) throw invalidBody('body', 'an object')
  if (Object.hasOwn(parsed, '__proto__')) throw invalidBody('__proto__', 'no member of this name')
  if (upload.envelope === 'message') return openMessage(upload, parsed, bytes)
  const list = lists[upload.settings.sessionType]
  requireMembers(parsed, new Set([list]), list)
  const type = upload.settings.sessionType
  return { document: parsed, bytes, id: null, idempotencyKey: null, type }
}

function openMessage(
  upload: DecodeUpload,
  message: Record<string, unknown>,
  bytes: Uint8Array,
): OpenedUpload {
  const id = readId(message.id)
  try {
    return { document: message, bytes, id, ...readEnvelope(upload, message) }
  } catch (error) {
    throw error instanceof Refusal ? new MessageRefusal(id, error) : error
  }
}

function readEnvelope(
  upload: DecodeUpload,
  { type, idempotencyKey, ...data }: Record<string, unknown>,
): Pick<OpenedUpload, 'type' | 'idempotencyKey'> {
  const { sessionType } = upload.settings
  if (typeof type !== 'string') throw invalidBody('type', `'${sessionType}', 'ping' or 'end'`)
  const list = lists[sessionType]
  if (type === sessionType) requireMembers(data, new Set(['id', list]), list)
  return { type, idempotencyKey: readIdempotencyKey(idempotencyKey) }
}

function readId(id: unknown): string | number | null {
  if (id === undefined || id === null) return null
  const isText = typeof id === 'string' && id.length <= limits.messageIdCharsMax
  if (isText || (typeof id === 'number' && Number.isFinite(id))) return id
  throw invalidBody('id', `text of at most ${limits.messageIdCharsMax} characters, or a number`)
}

function readIdempotencyKey(key: unknown): string | null {
  if (key === undefined || key === null) return null
  const isKey = typeof key === 'string' && /^[\x21-\x7e]+$/.test(key)
  if (isKey && key.length <= limits.idempotencyKeyCharsMax) return key
  throw invalidBody(
    'idempotencyKey',
    `1 to ${limits.idempotencyKeyCharsMax} visible ASCII characters`,
  )
}

function requireMembers(
  document: Record<string, unknown>,
  known: ReadonlySet<string>,
  list: string,
): void {
  for (const member of Object.keys(document)) {
    if (known.has(member)) continue
    throw invalidBody(member.slice(0, limits.shownValueCharsMax), `no such member beside '${list}'`)
  }
}
