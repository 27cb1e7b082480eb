import { hash } from 'node:crypto'
import type {
  DecodedContent,
  DecodeSettings,
  MediaItem,
  RejectedRecords,
} from '../contracts/tasks.ts'
import { isDocument } from './document.ts'
import { type Carrier, type MediaBody, openCarrier } from './media-carrier.ts'
import { MediaFault } from './media-fault.ts'
import { bufferKind, frameKind, type MediaKind } from './media-kinds.ts'
import { cannotParse, RecordFault, rejection, requireList, shownValue } from './rejection.ts'
import { Rejections } from './rejections.ts'
import { formatTimestamp, parseTimestamp } from './telemetry/timestamp.ts'

export interface DecodedMedia {
  readonly received: number
  readonly rejected: RejectedRecords
  readonly content: Extract<DecodedContent, { kind: 'media' }>
}

type Document = Readonly<Record<string, unknown>>

const digestBytes = 32

/** Decodes and checks the `frames` of an upload body. Refuses as `decodeBuffers` does. */
export function decodeFrames(
  document: Document,
  body: MediaBody,
  settings: DecodeSettings,
): Promise<DecodedMedia> {
  return decodeMedia(frameKind, document, body, settings)
}

/**
 * Decodes and checks the `buffers` of an upload body. Throws Refusal: `INVALID_BODY` where the
 * list is missing or empty, `BATCH_SIZE_EXCEEDED` where it is too long, `INVALID_RECORDS` where
 * nothing of it is valid, or not everything under `reject-batch`.
 */
export function decodeBuffers(
  document: Document,
  body: MediaBody,
  settings: DecodeSettings,
): Promise<DecodedMedia> {
  return decodeMedia(bufferKind, document, body, settings)
}

async function decodeMedia(
  kind: MediaKind,
  document: Document,
  body: MediaBody,
  settings: DecodeSettings,
): Promise<DecodedMedia> {
  const records = requireList(document[kind.list], kind.list)
  const carrier = openCarrier(kind, records, body)
  // All digests in one buffer: each of its own, or of Node's pool, would be cloned as a whole
  // buffer.
  const digests = new Uint8Array(records.length * digestBytes)
  const items: MediaItem[] = []
  const rejections = new Rejections()
  for (const [recordIndex, record] of records.entries()) {
    try {
      const digest = digests.subarray(items.length * digestBytes, (items.length + 1) * digestBytes)
      items.push(await decodeRecord(kind, record, carrier, digest, settings))
    } catch (error) {
      if (!(error instanceof RecordFault)) throw error
      rejections.add(rejection(recordIndex, record, error, kind.bytes))
    }
  }
  return {
    received: records.length,
    rejected: rejections.finish(records.length, settings),
    content: { kind: 'media', buffer: carrier.buffer, items },
  }
}

/** Checks one frame or buffer, members first, then bytes. Throws RecordFault. */
async function decodeRecord(
  kind: MediaKind,
  record: unknown,
  carrier: Carrier,
  digest: Uint8Array,
  settings: DecodeSettings,
): Promise<MediaItem> {
  const { members, timestamp } = checkMembers(kind, record)
  const { byteOffset, byteLength } = carrier.place(members[kind.bytes])
  const bytes = new Uint8Array(carrier.buffer, byteOffset, byteLength)
  const inspection = await inspect(kind, bytes, settings)
  const metadata: Record<string, string | number | boolean | null> = {
    [kind.counter]: Number(members[kind.counter]),
    timestamp,
    format: kind.format,
  }
  for (const size of kind.sizes) {
    const claimed = Number(members[size])
    const found = inspection.sizes[size]
    if (claimed !== found) {
      const message = `${size} is ${claimed}, but the ${kind.title} has ${found}`
      throw new RecordFault(size, claimed, 'integer', message)
    }
    metadata[size] = claimed
  }
  digest.set(hash('sha256', bytes, 'buffer'))
  return { byteOffset, byteLength, hash: digest, metadata: { ...metadata, ...inspection.derived } }
}

/** Every documented member must be there with its type, and no other. */
function checkMembers(
  kind: MediaKind,
  record: unknown,
): { readonly members: Document; readonly timestamp: string } {
  if (!isDocument(record)) {
    throw new RecordFault(kind.list, record, 'object', `A member of ${kind.list} is not an object`)
  }
  const members: Document = record
  for (const member of Object.keys(members)) {
    if (!kind.members.has(member)) {
      const message = `${shownValue(member)} is not a member of ${kind.list}`
      throw new RecordFault(member, members[member], 'no such member', message)
    }
  }
  for (const member of kind.members) {
    if (members[member] === undefined) {
      const message = `${member} is missing`
      throw new RecordFault(member, null, kind.types.get(member) ?? '', message)
    }
  }
  for (const member of [kind.counter, ...kind.sizes]) {
    const value = members[member]
    if (!Number.isSafeInteger(value) || Number(value) < 0) {
      throw unparsable(member, value, 'integer')
    }
  }
  if (members.format !== kind.format) {
    const message = `format must be '${kind.format}'`
    throw new RecordFault('format', members.format, `'${kind.format}'`, message)
  }
  return { members, timestamp: readTimestamp(members.timestamp) }
}

/** RFC 3339 in UTC. */
function readTimestamp(value: unknown): string {
  const timestamp = parseTimestamp(value)
  if (timestamp === null) throw unparsable('timestamp', value, 'datetime')
  return formatTimestamp(timestamp)
}

function unparsable(field: string, value: unknown, expectedType: string): RecordFault {
  return new RecordFault(field, value, expectedType, cannotParse(value, expectedType))
}

async function inspect(kind: MediaKind, bytes: Uint8Array, settings: DecodeSettings) {
  try {
    return await kind.inspect(bytes, settings)
  } catch (error) {
    if (!(error instanceof MediaFault)) throw error
    throw new RecordFault(kind.bytes, bytes, kind.title, error.message)
  }
}
