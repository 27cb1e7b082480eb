import fc from 'fast-check'
import { pack } from 'msgpackr'
import { mutated } from './telemetry-texts.ts'

/** Telemetry bodies in msgpack, in every form of length and number that it has. */

function withLength(
  length: number,
  head: number,
  ...wide: readonly [head: number, bytes: 1 | 2 | 4][]
): fc.Arbitrary<Buffer> {
  const fitting = wide.filter(([, bytes]) => length < 256 ** bytes)
  const forms = fitting.map(([code, bytes]) => {
    const form = Buffer.alloc(1 + bytes, code)
    form.writeUIntBE(length, 1, bytes)
    return form
  })
  const isShort = length <= (head === 0xa0 ? 31 : 15)
  const short = fc.constant(Buffer.of(head | length))
  const long = fc.constantFrom(...forms)
  return isShort ? fc.oneof({ weight: 60, arbitrary: short }, { weight: 1, arbitrary: long }) : long
}

const mapHead = (members: number) => withLength(members, 0x80, [0xde, 2], [0xdf, 4])
const listHead = (elements: number) => withLength(elements, 0x90, [0xdc, 2], [0xdd, 4])
const text = (value: string | Uint8Array) => {
  const bytes = Buffer.from(value as string)
  const head = withLength(bytes.length, 0xa0, [0xd9, 1], [0xda, 2], [0xdb, 4])
  return head.map((form) => Buffer.concat([form, bytes]))
}
const joined = (...parts: fc.Arbitrary<Buffer>[]) =>
  fc.tuple(...parts).map((all) => Buffer.concat(all))

/** Neither is a value; the body is the decoder's then. */
const odd = fc.constantFrom(...new Array(40).fill(-0), Number.NaN, Number.POSITIVE_INFINITY)
const wholes = fc
  .tuple(
    fc.constantFrom(0xcc, 0xcd, 0xce, 0xcf, 0xd0, 0xd1, 0xd2, 0xd3),
    fc.uint8Array({ minLength: 8, maxLength: 8 }),
  )
  .map(([head, bytes]) => Buffer.from([head, ...bytes.subarray(0, 1 << ((head - 0xcc) & 3))]))
const float = fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), odd).map((value) => {
  const bytes = Buffer.alloc(9, 0xcb)
  bytes.writeDoubleBE(value, 1)
  return bytes
})
const shortFloat = fc
  .oneof(fc.float({ noNaN: true, noDefaultInfinity: true }), odd)
  .map((value) => {
    const bytes = Buffer.alloc(5, 0xca)
    bytes.writeFloatBE(value, 1)
    return bytes
  })
const small = fc.integer({ min: -32, max: 127 }).map((value) => Buffer.of(value & 0xff))
const number = fc.oneof(wholes, { weight: 3, arbitrary: float }, shortFloat, small)
const string = fc.oneof(
  fc.constantFrom('', 'open', 'é 温度', 'x'.repeat(40)).chain(text),
  fc.string({ unit: 'grapheme', maxLength: 20 }).chain(text),
)
const value = fc.oneof(
  { weight: 120, arbitrary: number },
  { weight: 60, arbitrary: string },
  { weight: 30, arbitrary: fc.constantFrom(0xc0, 0xc2, 0xc3).map((head) => Buffer.of(head)) },
  {
    weight: 1,
    arbitrary: fc.oneof(
      fc
        .constantFrom([0xc1], [0x90], [0x80], [0xc4, 0], [0xd6, 0xff, 0, 0, 0, 1])
        .map((bytes) => Buffer.from(bytes)),
      fc.uint8Array({ maxLength: 8 }).chain(text),
    ),
  },
)
const name = fc.oneof(
  { weight: 400, arbitrary: fc.constantFrom('a', 'bc', 'temperature', 'é', 'n'.repeat(33)) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('0', '__proto__', '', '\0', '\0'.repeat(256), 'n'.repeat(257)),
  },
)
const date = fc.date({ noInvalidDate: true, min: new Date(-6.2e13), max: new Date(25e13) })
const time = fc.oneof(
  { weight: 40, arbitrary: date.map((value) => value.toISOString()).chain(text) },
  {
    weight: 20,
    arbitrary: fc.double({ min: -6.3e13, max: 25.4e13, noNaN: true }).map((ms) => pack(ms)),
  },
  { weight: 20, arbitrary: date.map((value) => pack(value.getTime())) },
  {
    weight: 1,
    arbitrary: fc
      .constantFrom('now', '2025-01-20T10:30:00', '2025-01-20T10:30:00.5+01:00')
      .chain(text),
  },
  {
    weight: 1,
    arbitrary: fc.oneof(
      number,
      fc.date({ noInvalidDate: true }).map((date) => pack(date)),
    ),
  },
)
const fields = fc
  .uniqueArray(name, { maxLength: 5 })
  .chain((names) => joined(mapHead(names.length), ...names.flatMap((one) => [text(one), value])))

const record = fc
  .tuple(time, fields, fc.integer({ min: 0, max: 60 }))
  .chain(([stamp, values, form]) => {
    const first = joined(text('timestamp'), fc.constant(stamp))
    const second = joined(text('values'), fc.constant(values))
    if (form === 0) return joined(mapHead(1), second)
    if (form === 1) return joined(mapHead(2), first, first)
    if (form === 2) return joined(mapHead(3), first, second, text('more'), small)
    return form < 20 ? joined(mapHead(2), second, first) : joined(mapHead(2), first, second)
  })

const body = fc
  .array(record, { minLength: 1, maxLength: 4 })
  .chain((records) =>
    joined(
      mapHead(1),
      text('records'),
      listHead(records.length),
      ...records.map((one) => fc.constant(one)),
    ),
  )

/** One in four of them is changed somewhere. */
export const packedBytes = mutated(body)
