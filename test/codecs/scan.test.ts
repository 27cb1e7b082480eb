import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { pack } from 'msgpackr'
import {
  scanMessage,
  scanMsgpack,
  scanSeveral,
  scanTelemetry,
} from '../../src/codecs/telemetry/scan.ts'
import { compileSchema } from '../../src/codecs/telemetry/schema.ts'
import { limits } from '../../src/limits.ts'
import { messageAgrees, packedAgrees, runAgrees, scanAgrees } from '../support/scan-oracle.ts'
import { packedBytes } from '../support/telemetry-packed.ts'
import { messageBytes, numberText, soundBytes, telemetryBytes } from '../support/telemetry-texts.ts'

const soundMessage = fc
  .tuple(
    fc.constantFrom('', '"id":7,', '"id":"seven",', '"id":-0.5,', ' "id" : "ü" , '),
    numberText,
  )
  .map(([id, n]) => {
    const number = Number.isFinite(Number(n)) ? n : '1'
    const record = `{"timestamp":"2025-01-20T10:30:00.010Z","values":{"a":${number},"café":"ß"}}`
    return Buffer.from(`{"type":"telemetry",${id}"records":[${record},${record}]}`)
  })

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

test('whatever it gives of a message or of msgpack, their decoders give too', () => {
  const schema = fc.constantFrom(null, null, strict)
  for (const [bodies, agrees] of [
    [messageBytes, messageAgrees],
    [packedBytes, packedAgrees],
  ] as const) {
    let scanned = 0
    fc.assert(
      fc.property(bodies, schema, (bytes, definition) => {
        if (agrees(bytes, definition)) scanned += 1
      }),
      { numRuns: 5_000 },
    )
    assert(scanned > 250, `only ${scanned} of 5,000 were scanned`)
  }
})

test('a number of any form is the double that JSON.parse makes of it', () => {
  // One that JSON does not have, or that is infinite, costs its whole body.
  const finite = numberText.filter((text) => {
    try {
      return Number.isFinite(JSON.parse(text))
    } catch {
      return false
    }
  })
  fc.assert(
    fc.property(fc.array(finite, { minLength: 1, maxLength: 50 }), (numbers) => {
      const records = numbers.map((number) => record(`"a":${number}`))
      assert.equal(scanAgrees(body(records.join()), null), true)
    }),
    { numRuns: 3_000 },
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

test('a message that ends anywhere is left to JSON.parse, a msgpack body to its decoder', () => {
  const text = `{"id":"é","type":"telemetry","records":[${record('"a":1.5')}]}`
  const message = Buffer.from(text)
  assert.equal(messageAgrees(message, null), true)
  for (let end = 0; end < message.length; end += 1) {
    assert.equal(scanMessage(message.subarray(0, end), null), null, `cut at ${end}`)
  }
  const packed = pack({ records: [{ timestamp: 1.5, values: { a: 1.5, b: 'é', c: null } }] })
  assert.equal(packedAgrees(packed, null), true)
  for (let end = 0; end < packed.length; end += 1) {
    assert.equal(scanMsgpack(packed.subarray(0, end), null), null, `cut at ${end}`)
  }
})

test('a message has its id as JSON.parse gives it', () => {
  const scan = (id: string) => {
    const text = `{"type":"telemetry",${id}"records":[${record('"a":1')}]}`
    return scanMessage(Buffer.from(text), null)?.id
  }
  assert.equal(scan(''), null)
  assert.equal(scan('"id":"m-1",'), 'm-1')
  assert.equal(scan('"id":"é",'), 'é')
  assert.equal(scan('"id":-0,'), -0)
  assert.equal(scan('"id":1e3,'), 1_000)
  assert.equal(scan('"id":"\\n",'), undefined, 'an escape is for JSON.parse')
  assert.equal(scan(`"id":"${'i'.repeat(limits.messageIdCharsMax + 1)}",`), undefined)
  assert.equal(scan('"idempotencyKey":"k",'), undefined)
})

test('messages scanned together are what each of them is, and one that is none costs them all', () => {
  const run = fc.array(fc.oneof({ arbitrary: soundMessage, weight: 30 }, messageBytes), {
    minLength: 1,
    maxLength: 12,
  })
  let scanned = 0
  fc.assert(
    fc.property(run, fc.constantFrom(null, null, strict), (messages, definition) => {
      if (runAgrees(messages, definition)) scanned += 1
    }),
    { numRuns: 3_000 },
  )
  assert(scanned > 300, `only ${scanned} of 3,000 were scanned`)
})

test('no message goes on in the next', () => {
  const whole = Buffer.from(
    '{"type":"telemetry","id":"one","records":[{"timestamp":1,"values":{"abcdefghij":"x y","b":12.5}}]}',
  )
  assert.equal(runAgrees([whole, whole, whole], null), true)
  for (let at = 1; at < whole.length; at += 1) {
    const halves = [whole.subarray(0, at), whole.subarray(at)]
    assert.equal(scanSeveral([whole, ...halves, whole], 'message', null), null, `cut at ${at}`)
  }
  const many = Array.from({ length: limits.runUploadsMax + 1 }, () => whole)
  assert.equal(scanSeveral(many, 'message', null), null)
  assert.equal(scanSeveral(many.slice(1), 'message', null)?.builder.rows, limits.runUploadsMax)
})

test('text that is no UTF-8 is left to the decoders, wherever it stands', () => {
  const cut = Buffer.from([0xc3])
  for (const text of ['"a":"?"', '"?":1', '"a":"x?\\n"', `"a":"${'x'.repeat(40)}?"`]) {
    const [before, after] = body(record(text)).toString().split('?') as [string, string]
    const whole = [Buffer.from(before), cut, Buffer.from(after)]
    assert.equal(scanAgrees(Buffer.concat(whole), null), false, text)
    whole[1] = Buffer.from('é')
    assert.equal(scanAgrees(Buffer.concat(whole), null), true, text)
  }
  const values = (b: string) => pack({ records: [{ timestamp: 0, values: { a: 'é', b } }] })
  const packed = values('é')
  assert.equal(packedAgrees(packed, null), true)
  packed[packed.length - 1] = 0x20
  assert.equal(packedAgrees(packed, null), false)
})

test('an escape stands for its character, and one that is none is left to JSON.parse', () => {
  const scan = (text: string) => scanAgrees(body(record(`"a":"${text}"`)), null)
  for (const text of [
    '\\"\\\\\\/\\b\\f\\n\\r\\t',
    '\\u0000',
    '\\u00e9\\uFFFFx',
    '\\ud83c\\udf21',
    'é\\n🌡',
  ]) {
    assert.equal(scan(text), true, text)
  }
  for (const text of ['\\x', '\\u12', '\\u00g0', '\\u', '\\', '\\ud83c', '\\udf21']) {
    assert.equal(scan(text), false, text)
  }
  for (const low of ['0041', 'dbff', 'e000', 'ffff']) {
    assert.equal(scan(`\\ud83c\\u${low}`), false, `half a pair before ${low}`)
  }
})

test('records of several shapes fill their columns in the order in which these appear', () => {
  const shapes = [
    record('"b":1,"a":"open","c":true'),
    `{"values":{"a":2.25,"d":false},"timestamp":1737369000000.25}`,
    record('"c":null,"b":-0.5'),
  ]
  const records = Array.from({ length: 1_000 }, (_, row) => shapes[(row * row + (row >> 3)) % 3])
  assert.equal(scanAgrees(body(records.join()), null), true)
})

test('what bodies before have taught changes nothing for those that follow', () => {
  const first = body(record('"a":1,"b":2'))
  const { hash } = scanTelemetry(first, null)?.encode() ?? {}
  const names = limits.uploadFieldsMax
  for (let turn = 0; turn < 3; turn += 1) {
    const records = Array.from({ length: 8 }, (_, row) => {
      const from = (row * names) / 8
      const field = (index: number) => `"${turn}-${from + index}":${row}`
      return record(Array.from({ length: limits.recordFieldsMax / 2 }, (_, n) => field(n)).join())
    })
    assert.equal(scanAgrees(body(records.join()), null), true)
    assert.deepEqual(scanTelemetry(first, null)?.encode().hash, hash)
  }
})

test('names learned of one format are none in the other', () => {
  const quoted = body(record('"abc":1,"d":2'))
  const packed = pack({ records: [{ timestamp: 0, values: { abc: 1, d: 2 } }] })
  const swapped = (bytes: Buffer, from: string, to: string) =>
    Buffer.from(bytes.toString('latin1').replace(from, to), 'latin1')
  assert.equal(packedAgrees(packed, null), true)
  for (const from of ['"abc":', '"d":']) {
    const to = from === '"d":' ? '\xa1d' : '\xa3abc'
    assert.equal(scanAgrees(quoted, null), true)
    assert.equal(scanTelemetry(swapped(quoted, from, to), null), null)
    assert.equal(packedAgrees(packed, null), true)
    assert.equal(scanMsgpack(swapped(packed, to, from), null), null)
  }
})

test('a body that takes more memory than is kept is scanned, and so are those after it', () => {
  const text = `"a":"${'é'.repeat(limits.stringValueBytesMax / 2 - 1)}"`
  const records = Math.ceil(limits.scannerMemoryBytesKept / limits.stringValueBytesMax)
  const large = body(new Array(records).fill(record(text)).join())
  for (let turn = 0; turn < 2; turn += 1) {
    assert.equal(scanAgrees(large, null), true)
    assert.equal(scanAgrees(body(record('"a":1')), null), true)
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
  assert.equal(scan('"temperature":null'), false, 'required, so not null')
  assert.equal(scan('"temperature":1,"a":null,"bc":null'), true, 'null as if absent')
  assert.equal(scan('"temperature":1,"bc":true'), false, 'no number')
  const packed = pack({ records: [{ timestamp: 0, values: { temperature: -51 } }] })
  assert.equal(scanMsgpack(packed, schema), null)
})
