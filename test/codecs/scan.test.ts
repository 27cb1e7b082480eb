import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { scanTelemetry } from '../../src/codecs/telemetry/scan.ts'
import { compileSchema } from '../../src/codecs/telemetry/schema.ts'
import { limits } from '../../src/limits.ts'
import { scanAgrees } from '../support/scan-oracle.ts'
import { soundBytes, telemetryBytes } from '../support/telemetry-texts.ts'

const strict = JSON.stringify({
  fields: [
    { name: 'temperature', type: 'float', required: true, validation: { min: -50 } },
    { name: 'a', type: 'string', validation: { maxLength: 4 } },
    { name: 'bc', type: 'integer' },
  ],
  additionalFields: false,
})

test('whatever the scanner gives, JSON.parse and the checks of records give too', () => {
  const schema = fc.constantFrom(null, null, strict)
  fc.assert(
    fc.property(telemetryBytes, schema, (bytes, definition) => {
      scanAgrees(bytes, definition)
    }),
    { numRuns: 20_000 },
  )
})

test('a sound body is scanned, not left to JSON.parse', () => {
  fc.assert(
    fc.property(soundBytes, (bytes) => {
      assert.equal(scanAgrees(bytes, null), true)
    }),
    { numRuns: 2_000 },
  )
})

const body = (records: string) => Buffer.from(`{"records":[${records}]}`)
const record = (values: string) => `{"timestamp":"2025-01-20T10:30:00.000Z","values":{${values}}}`

test('a body that ends anywhere is left to JSON.parse', () => {
  const whole = body(`${record('"a":1.5,"é":"x\\n"')},${record('"a":-1e3,"b":true')}`)
  assert.equal(scanAgrees(whole, null), true)
  for (let end = 0; end < whole.length; end += 1) {
    assert.equal(scanTelemetry(whole.subarray(0, end), null), null, `cut at ${end}`)
  }
})

test('each byte of a body in turn, replaced by each of the signs of JSON', () => {
  const whole = body(`${record('"a":10.25,"b":"x"')},${record('"a":null,"c":0')}`)
  for (let at = 0; at < whole.length; at += 1) {
    for (const sign of '{}[]":,\\-+.eE019tfn \n\0é') {
      const change = Buffer.from(sign)
      scanAgrees(Buffer.concat([whole.subarray(0, at), change, whole.subarray(at + 1)]), null)
    }
  }
})

test('a body lies anywhere in its buffer', () => {
  const whole = body(record('"a":1'))
  const buffer = new Uint8Array(whole.length + 16).fill(0x31)
  for (let offset = 0; offset < 9; offset += 1) {
    buffer.set(whole, offset)
    const bytes = buffer.subarray(offset, offset + whole.length)
    const page = scanTelemetry(bytes, null)?.encode()
    assert.deepEqual(page?.hash, scanTelemetry(whole, null)?.encode().hash)
  }
})

test('more records, fields or bytes than there may be are left to the checks', () => {
  const many = (count: number) => body(new Array(count).fill(record('"a":1')).join())
  assert.equal(scanAgrees(many(limits.uploadRecordsMax), null), true)
  assert.equal(scanAgrees(many(limits.uploadRecordsMax + 1), null), false)
  const fields = (count: number) =>
    Array.from({ length: count }, (_, index) => `"f${index}":${index}`).join()
  assert.equal(scanAgrees(body(record(fields(limits.recordFieldsMax))), null), true)
  assert.equal(scanAgrees(body(record(fields(limits.recordFieldsMax + 1))), null), false)
  const text = (length: number) => body(record(`"a":"${'x'.repeat(length)}"`))
  assert.equal(scanAgrees(text(limits.stringValueBytesMax), null), true)
  assert.equal(scanAgrees(text(limits.stringValueBytesMax + 1), null), false)
})

test('what the schema refuses is left to the checks, which tell why', () => {
  const schema = compileSchema(strict)
  const scan = (values: string) => scanTelemetry(body(record(values)), schema) !== null
  assert.equal(scan('"temperature":20.5,"a":"open","bc":7'), true)
  assert.equal(scan('"temperature":20.5'), true)
  assert.equal(scan('"a":"open"'), false, 'a required field lacks')
  assert.equal(scan('"temperature":-51'), false, 'below the minimum')
  assert.equal(scan('"temperature":"20"'), false, 'no number')
  assert.equal(scan('"temperature":1,"a":"closed"'), false, 'too long')
  assert.equal(scan('"temperature":1,"bc":7.5'), false, 'no integer')
  assert.equal(scan('"temperature":1,"x":1'), false, 'no other fields')
})
