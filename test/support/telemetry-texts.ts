import fc from 'fast-check'

/**
 * JSON texts of telemetry bodies: documented ones in every spelling that JSON allows, and, where
 * `mutations` are made, such as are wrong in one place.
 */

const space = fc.constantFrom('', '', '', '', ' ', '\n', '\t', '\r\n  ')
const digits = (most: number) =>
  fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: most }).map((d) => d.join(''))
const whole = fc.oneof(
  fc.constant('0'),
  digits(19).map((text) => text.replace(/^0+(?=.)/, '')),
)
const fraction = fc.oneof(
  fc.constant(''),
  digits(20).map((text) => `.${text}`),
)
const exponent = fc.oneof(
  { weight: 6, arbitrary: fc.constant('') },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom('e', 'E'), fc.constantFrom('', '+', '-'), digits(2))
      .map((parts) => parts.join('')),
  },
)
/** Double number `bits` of the positive ones, as a whole number times a power of two. */
function partsOf(bits: bigint): [whole: bigint, power: number] {
  const exponent = Number(bits >> 52n)
  const fraction = bits & ((1n << 52n) - 1n)
  return exponent === 0 ? [fraction, -1074] : [fraction | (1n << 52n), exponent - 1075]
}

/** The number exactly halfway between a double and the next, or a digit off it, or cut after some digits. */
const halfwayText = fc
  .tuple(
    fc.oneof(
      fc.bigInt({ min: 0n, max: (2046n << 52n) - 1n }),
      fc.bigInt({ min: 1000n << 52n, max: 1100n << 52n }),
      fc.bigInt({ min: 0n, max: 1n << 54n }),
    ),
    fc.constantFrom(-1n, 0n, 0n, 1n),
    fc.constantFrom('', '', '0', '1', '0'.repeat(30)),
    fc.oneof(fc.constant(1_000), fc.integer({ min: 15, max: 25 })),
  )
  .map(([bits, off, more, most]) => {
    const [whole, power] = partsOf(bits)
    const odd = 2n * whole + 1n
    const fives = power > 0 ? 0 : 1 - power
    const exact = power > 0 ? odd << BigInt(power - 1) : odd * 5n ** BigInt(fives)
    const text = `${exact + off}${more}`
    const kept = text.slice(0, most)
    const exponent = text.length - kept.length - more.length - fives
    const isPointed = kept.length > 1 && exact % 3n === 0n
    return isPointed
      ? `${kept[0]}.${kept.slice(1)}e${exponent + kept.length - 1}`
      : `${kept}e${exponent}`
  })
const deepText = fc
  .tuple(whole, fraction, fc.integer({ min: -420, max: 320 }))
  .map(([digits, part, power]) => `${digits}${part}e${power}`)
const longText = fc
  .tuple(digits(900), fc.boolean(), fc.integer({ min: -1_000, max: 100 }))
  .map(([text, isPart, power]) => (isPart ? `0.${text}e${power}` : `1${text}e${power}`))
/** Of every length around those that are read at once. */
const shortText = fc
  .tuple(fc.constantFrom('', '-'), digits(9), digits(10), fc.boolean())
  .map(([sign, before, after, isPart]) => {
    const whole = before.replace(/^0+(?=.)/, '')
    return `${sign}${whole}${isPart ? `.${after}` : ''}`
  })
const hardText = fc.oneof(
  { weight: 3, arbitrary: halfwayText },
  { weight: 2, arbitrary: deepText },
  { weight: 4, arbitrary: shortText },
  { weight: 1, arbitrary: longText },
)

export const numberText = fc.oneof(
  { weight: 30, arbitrary: hardText },
  { weight: 30, arbitrary: fc.double({ noNaN: true, noDefaultInfinity: true }).map(String) },
  { weight: 30, arbitrary: fc.integer({ min: -99_999, max: 99_999 }).map((n) => String(n / 100)) },
  {
    weight: 30,
    arbitrary: fc
      .tuple(fc.constantFrom('', '-'), whole, fraction, exponent)
      .map((parts) => parts.join('')),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      ...['1e99999999999', '0e99999999999', '1e-99999999999', '1.2.3', '1e+', '--1', '1/2', '1-1'],
      ...['-0', '0.0', '1e400', '-1e-400', '01', '-', '1.', '.5', '+1', '1e', '0x10', 'NaN'],
      ...['9007199254740993', '999999999999999', '123456789012345678', '2.2250738585072011e-308'],
    ),
  },
)

const hex = (unit: number) => `\\u${unit.toString(16).padStart(4, '0')}`
/** The text between the quotes, some signs of it escaped. */
const escaped = fc
  .tuple(
    fc.oneof(
      { weight: 20, arbitrary: fc.string({ unit: 'grapheme', maxLength: 12 }) },
      { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 12 }) },
    ),
    fc.boolean(),
  )
  .map(([text, isHex]) => {
    const units = Array.from({ length: text.length }, (_, index) => text.charCodeAt(index))
    return isHex ? units.map(hex).join('') : JSON.stringify(text).slice(1, -1)
  })
const stringText = fc.oneof(
  { weight: 40, arbitrary: fc.constantFrom('"open"', '"closed"', '""', '"é 温度 🌡"') },
  { weight: 20, arbitrary: escaped.map((text) => `"${text}"`) },
  { weight: 1, arbitrary: fc.constantFrom('"\\x"', '"\\ud800"', '"\n"', '"', '"\\"', "'a'") },
)
const valueText = fc.oneof(
  { weight: 80, arbitrary: numberText },
  { weight: 40, arbitrary: stringText },
  { weight: 20, arbitrary: fc.constantFrom('true', 'false', 'null') },
  { weight: 1, arbitrary: fc.constantFrom('[]', '{}', 'nul', 'tru', 'TRUE', '[1]', '{"a":1}', '') },
)
const nameText = fc.oneof(
  { weight: 100, arbitrary: fc.constantFrom('a', 'bc', 'temperature', 'humidity', 'é', '温度') },
  {
    weight: 1,
    arbitrary: fc.constantFrom('0', '17', '__proto__', '', 'toString', '\\u0061', 'a\\"', '-1'),
  },
  { weight: 1, arbitrary: escaped },
)
const timeText = fc.oneof(
  {
    weight: 60,
    arbitrary: fc
      .date({ noInvalidDate: true, min: new Date(-6.2e13), max: new Date(25e13) })
      .map((date) => `"${date.toISOString()}"`),
  },
  {
    weight: 60,
    arbitrary: fc
      .tuple(fc.integer({ min: 0, max: 59 }), fc.oneof(fc.constant(''), digits(9)), zone())
      .map(([second, part, end]) => {
        const seconds = String(second).padStart(2, '0')
        return `"2025-01-20T10:30:${seconds}${part === '' ? '' : `.${part}`}${end}"`
      }),
  },
  { weight: 2, arbitrary: numberText },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      '"2025-02-30T00:00:00Z"',
      '"now"',
      'null',
      '"2025-01-20T10:30:00.Z"',
    ),
  },
)

function zone() {
  return fc.oneof(
    { weight: 30, arbitrary: fc.constantFrom('Z', 'Z', 'Z', 'z', '+01:00', '-00:30') },
    { weight: 1, arbitrary: fc.constantFrom('', '+1', '+24:00', 'ZZ') },
  )
}

const fieldsText = fc
  .uniqueArray(fc.tuple(nameText, valueText, space, space), {
    maxLength: 6,
    selector: ([name]) => name,
  })
  .map((fields) => fields.map(([name, value, a, b]) => `${a}"${name}"${b}:${a}${value}${b}`).join())

const recordText = fc
  .tuple(timeText, fieldsText, space, fc.integer({ min: 0, max: 100 }))
  .map(([time, fields, gap, form]) => {
    const stamp = `"timestamp"${gap}:${gap}${time}`
    const values = `"values":${gap}{${fields}}`
    if (form === 0) return `{${stamp},${values},"more":1}`
    if (form === 1) return `{${values}}`
    if (form === 2) return `{${stamp},${values},${values}}`
    if (form === 3) return `{${stamp},"values":{${fields},${fields}}}`
    return form < 30 ? `{${values}${gap},${gap}${stamp}}` : `{${gap}${stamp},${values}${gap}}`
  })

/** Most of them have something that JSON.parse or the checks of records refuse. */
export const telemetryText = fc
  .tuple(
    fc.array(recordText, { minLength: 1, maxLength: 5 }),
    space,
    fc.integer({ min: 0, max: 40 }),
  )
  .map(([records, gap, form]) => {
    const list = `[${gap}${records.join(`${gap},${gap}`)}${gap}]`
    if (form === 0) return `{"records":${list},"more":1}`
    if (form === 1) return `{"records":${list}}}`
    if (form === 2) return `\ufeff{"records":${list}}`
    return `${gap}{${gap}"records"${gap}:${gap}${list}${gap}}${gap}`
  })

const idText = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom('"m-1"', '""', '"é"', '17', '-0', '1.5e3') },
  { weight: 2, arbitrary: numberText },
  { weight: 2, arbitrary: stringText },
  { weight: 1, arbitrary: fc.constantFrom('null', 'true', '{}', `"${'i'.repeat(257)}"`) },
)

const messageText = fc
  .tuple(
    fc.array(recordText, { minLength: 1, maxLength: 3 }),
    fc.option(idText),
    fc.shuffledSubarray([0, 1, 2], { minLength: 3 }),
    space,
    fc.integer({ min: 0, max: 40 }),
  )
  .map(([records, id, order, gap, form]) => {
    const type = form === 0 ? '"type":"ping"' : `"type"${gap}:${gap}"telemetry"`
    const members = [type, id === null ? '' : `"id":${gap}${id}`, `"records":[${records.join()}]`]
    if (form === 1) members[1] = '"idempotencyKey":"k"'
    if (form === 2) members[1] = type
    if (form === 3) members[1] = '"more":1'
    const text = order.map((member) => members[member]).filter((member) => member !== '')
    return `${gap}{${gap}${text.join(`${gap},${gap}`)}${gap}}${gap}`
  })

const mutation = fc.record({
  at: fc.nat(),
  drop: fc.nat({ max: 3 }),
  put: fc.oneof(
    fc.uint8Array({ maxLength: 2 }),
    fc.constantFrom(
      ...['"', '\\', ',', '{', '}', '[', ']', ':', '0', '-', 'e', '\0'].map((s) => Buffer.from(s)),
    ),
  ),
})

/** The same bytes, one in four times changed somewhere. */
export function mutated(bodies: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> {
  const change = fc.oneof(
    { weight: 3, arbitrary: fc.constant(null) },
    { weight: 1, arbitrary: mutation },
  )
  return fc.tuple(bodies, change).map(([bytes, change]) => {
    if (change === null) return bytes
    const at = change.at % (bytes.length + 1)
    const rest = bytes.subarray(Math.min(bytes.length, at + change.drop))
    return Buffer.concat([bytes.subarray(0, at), change.put, rest])
  })
}

/** The bytes of such texts, one in four of them changed somewhere. */
export const telemetryBytes = mutated(telemetryText.map((text) => Buffer.from(text)))
export const messageBytes = mutated(messageText.map((text) => Buffer.from(text)))

const finiteText = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
  fc.integer({ min: -99_999, max: 99_999 }).map((n) => String(n / 100)),
)

/** Bodies with nothing wrong in them, nothing repeated and no name that is an array index. */
export const soundBytes = fc
  .array(
    fc.tuple(
      fc.date({ noInvalidDate: true, min: new Date(0), max: new Date(25e13) }),
      fc.uniqueArray(fc.constantFrom('a', 'bc', 'temperature', 'é', '温度'), { maxLength: 4 }),
      fc.array(
        fc.oneof(
          finiteText,
          fc.constantFrom('true', 'false', 'null', '"open"', '"a\\n\\u00e9"', '"温"'),
        ),
        { minLength: 4, maxLength: 4 },
      ),
      space,
    ),
    { minLength: 1, maxLength: 20 },
  )
  .map((records) => {
    const texts = records.map(([date, names, values, gap]) => {
      const fields = names.map((name, index) => `"${name}"${gap}:${values[index]}`)
      return `{"timestamp":"${date.toISOString()}",${gap}"values":{${fields.join(`,${gap}`)}}}`
    })
    return Buffer.from(`{"records":[${texts.join()}]}`)
  })
