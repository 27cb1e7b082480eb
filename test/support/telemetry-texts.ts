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
export const numberText = fc.oneof(
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

const mutation = fc.record({
  at: fc.nat(),
  drop: fc.nat({ max: 3 }),
  put: fc.oneof(
    fc.uint8Array({ maxLength: 2 }),
    fc.constantFrom(
      ...['"', '\\', ',', '{', '}', '[', ']', ':', '0', '-', 'e'].map((s) => Buffer.from(s)),
    ),
  ),
})

/** The bytes of such texts, one in four of them changed somewhere. */
export const telemetryBytes = fc
  .tuple(
    telemetryText,
    fc.oneof({ weight: 3, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: mutation }),
  )
  .map(([text, change]) => {
    const bytes = Buffer.from(text)
    if (change === null) return bytes
    const at = change.at % (bytes.length + 1)
    const rest = bytes.subarray(Math.min(bytes.length, at + change.drop))
    return Buffer.concat([bytes.subarray(0, at), change.put, rest])
  })

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
        fc.oneof(finiteText, fc.constantFrom('true', 'null', '"open"', '"a\\n\\u00e9"', '"温"')),
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
