import assert from 'node:assert/strict'
import { openUpload } from '../../src/codecs/body.ts'
import { type DecodedTelemetry, decodeTelemetry } from '../../src/codecs/telemetry/decode.ts'
import { scanTelemetry } from '../../src/codecs/telemetry/scan.ts'
import { compileSchema } from '../../src/codecs/telemetry/schema.ts'
import { Refusal } from '../../src/contracts/errors.ts'

/**
 * Whether the scanner takes a body as its own. Fails where what it then gives is not, byte for byte, what
 * JSON.parse and the checks of records make of it.
 */
export function scanAgrees(body: Buffer, schema: string | null): boolean {
  const bytes = new Uint8Array(body)
  const builder = scanTelemetry(bytes, schema === null ? null : compileSchema(schema))
  if (builder === null) return false
  const shown = body.toString()
  const expected = byJsonParse(bytes, schema)
  assert(expected !== null, `scanned, but refused by JSON.parse and the checks: ${shown}`)
  assert.equal(expected.rejected.count, 0, shown)
  assert.equal(builder.rows, expected.received, shown)
  assert.equal(expected.content.kind, 'page')
  const page = builder.encode()
  assert.deepEqual({ ...page }, expected.content.kind === 'page' && expected.content.page, shown)
  return true
}

function byJsonParse(bytes: Uint8Array, schema: string | null): DecodedTelemetry | null {
  const settings = {
    sessionType: 'telemetry',
    schema,
    onInvalid: 'reject-records',
    verify: 'structure',
  } as const
  try {
    const upload = { format: 'json', gzip: false, envelope: 'upload', fingerprint: false } as const
    const { byteLength } = bytes
    const body = new Uint8Array(bytes).buffer
    const { document } = openUpload({ ...upload, body, byteLength, settings }, bytes)
    return decodeTelemetry(document, settings)
  } catch (error) {
    if (error instanceof Refusal) return null
    throw error
  }
}
