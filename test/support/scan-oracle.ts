import assert from 'node:assert/strict'
import { openUpload } from '../../src/codecs/body.ts'
import { type DecodedTelemetry, decodeTelemetry } from '../../src/codecs/telemetry/decode.ts'
import type { PageBuilder } from '../../src/codecs/telemetry/page-builder.ts'
import {
  scanMessage,
  scanMsgpack,
  scanSeveral,
  scanTelemetry,
} from '../../src/codecs/telemetry/scan.ts'
import { compileSchema } from '../../src/codecs/telemetry/schema.ts'
import { Refusal } from '../../src/contracts/errors.ts'
import type { DecodeUpload } from '../../src/contracts/tasks.ts'

type Kind = Pick<DecodeUpload, 'format' | 'envelope'>
type Decoded = DecodedTelemetry & { readonly id: string | number | null }

/**
 * Whether the scanner takes a body as its own. Fails where what it then gives is not, byte for byte, what
 * JSON.parse and the checks of records make of it.
 */
export function scanAgrees(body: Uint8Array, schema: string | null): boolean {
  const scan = (bytes: Uint8Array) => scanTelemetry(bytes, compiled(schema))
  return agrees(body, schema, { format: 'json', envelope: 'upload' }, scan)
}

/** The same of a WebSocket message and its id. */
export function messageAgrees(body: Uint8Array, schema: string | null): boolean {
  let id: string | number | null = null
  const scan = (bytes: Uint8Array) => {
    const message = scanMessage(bytes, compiled(schema))
    id = message?.id ?? null
    return message?.builder ?? null
  }
  return agrees(body, schema, { format: 'json', envelope: 'message' }, scan, () => id)
}

/** The same of a msgpack body and its decoder. */
export function packedAgrees(body: Uint8Array, schema: string | null): boolean {
  const scan = (bytes: Uint8Array) => scanMsgpack(bytes, compiled(schema))
  return agrees(body, schema, { format: 'msgpack', envelope: 'upload' }, scan)
}

/** The same of messages that are scanned together, beside each of them parsed by itself. */
export function runAgrees(messages: readonly Uint8Array[], schema: string | null): boolean {
  const scanned = scanSeveral(messages, 'message', compiled(schema))
  if (scanned === null) return false
  const page = scanned.builder.encode()
  const shown = messages.map((bytes) => Buffer.from(bytes).toString()).join('\n')
  const kind = { format: 'json', envelope: 'message' } as const
  const records: unknown[] = []
  for (const [index, bytes] of messages.entries()) {
    const expected = byParsing(new Uint8Array(bytes), schema, kind)
    assert(expected !== null && expected.rejected.count === 0, shown)
    assert(Object.is(scanned.ids[index], expected.id), `another id: ${shown}`)
    assert.equal(scanned.records[index], expected.received, shown)
    records.push(...(JSON.parse(Buffer.from(bytes).toString()) as { records: unknown[] }).records)
  }
  const together = decodeTelemetry({ records }, settingsOf(schema))
  assert(together.content.kind === 'page', shown)
  assert.deepEqual({ ...page }, together.content.page, shown)
  return true
}

function compiled(schema: string | null) {
  return schema === null ? null : compileSchema(schema)
}

function agrees(
  body: Uint8Array,
  schema: string | null,
  kind: Kind,
  scan: (bytes: Uint8Array) => PageBuilder | null,
  idOf: () => Decoded['id'] = () => null,
): boolean {
  const bytes = new Uint8Array(body)
  const builder = scan(bytes)
  if (builder === null) return false
  const page = builder.encode()
  const shown = Buffer.from(body).toString(kind.format === 'json' ? 'utf8' : 'hex')
  const expected = byParsing(bytes, schema, kind)
  assert(expected !== null, `scanned, but refused by the parser and the checks: ${shown}`)
  assert.equal(expected.rejected.count, 0, shown)
  assert.equal(builder.rows, expected.received, shown)
  assert(Object.is(idOf(), expected.id), `another id: ${shown}`)
  assert.equal(expected.content.kind, 'page')
  assert.deepEqual({ ...page }, expected.content.kind === 'page' && expected.content.page, shown)
  return true
}

function byParsing(bytes: Uint8Array, schema: string | null, kind: Kind): Decoded | null {
  const settings = settingsOf(schema)
  try {
    const upload = { ...kind, gzip: false, fingerprint: false, settings } as const
    const body = new Uint8Array(bytes).buffer
    const opened = openUpload({ ...upload, body, byteLength: bytes.byteLength }, bytes)
    if (opened.type !== 'telemetry' || opened.idempotencyKey !== null) return null
    return { ...decodeTelemetry(opened.document, settings), id: opened.id }
  } catch (error) {
    if (error instanceof Refusal) return null
    throw error
  }
}

function settingsOf(schema: string | null) {
  return {
    sessionType: 'telemetry',
    schema,
    onInvalid: 'reject-records',
    verify: 'structure',
  } as const
}
