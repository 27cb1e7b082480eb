import assert from 'node:assert/strict'
import { Packr } from 'msgpackr'
import {
  type BlockTemplate,
  blockBodies,
  blockRecords,
  blockTemplate,
  jsonEnvelope,
  type Slice,
  twoDigitBytes,
} from './block-bodies.ts'
import type { BodySource, RecordSource } from './bodies.ts'
import { seededRandom } from './random.ts'

export interface TelemetryRecord {
  readonly timestamp: string
  readonly values: Readonly<Record<string, number | string | boolean | null>>
}

export interface TelemetryValues {
  readonly temperature: number
  readonly humidity: number
  readonly pressure: number
}

const epochMs = Date.parse('2025-01-20T00:00:00.000Z')
// Both are coprime to what they are taken modulo, so neither sequence repeats before its end.
const pairStep = 99_991
const pressureStep = 7_919
const pairs = 1_000_000
const pressures = 10_000
/** Of a hundred each, from 1,000 on: one more digit that changes. */
const pressureRanges = 10

/** As many blocks as pressures: past it a record would come twice. */
const blocksMax = pressures * pressureRanges
export const telemetryRecordsMax = blockRecords * blocksMax

/**
 * Records are six milliseconds apart, so that a block is a minute, each late by up to five: steps of
 * one size are what a format of pages may take no bytes for, and no sensor keeps them. Every block
 * has the same delays, which costs a body no more than steps of one size would.
 */
const stepMs = 6
const blockMs = blockRecords * stepMs
const random = seededRandom(7)
const delaysMs = Uint8Array.from({ length: blockRecords }, () => Math.floor(random() * stepMs))

// What a block changes of a timestamp: "2025-0" and ":00.000Z" stand, "1-20T10:30" between does
// not.
const monthOffset = '2025-0'.length
const changingBytes = '1-20T10:30'.length

export function telemetryTimeMs(number: number): number {
  return epochMs + number * stepMs + (delaysMs[number % blockRecords] as number)
}

/** The record of that time. */
export function telemetryNumberAt(timeMs: number): number {
  return Math.floor((timeMs - epochMs) / stepMs)
}

/**
 * The values of record `number`. Its temperature and humidity name its place in the block (the pair
 * is one of a million and none comes twice), its pressure the block. They have the decimals of the
 * documented example.
 */
export function telemetryValues(number: number): TelemetryValues {
  assert(number < telemetryRecordsMax, 'out of unique records')
  const index = number % blockRecords
  const pair = (index * pairStep) % pairs
  return {
    temperature: ((pair % 1_000) - 100) / 10,
    humidity: Math.floor(pair / 1_000) / 10,
    pressure: pressureOf(index, Math.floor(number / blockRecords)),
  }
}

/** Record `number`. Its timestamp is as unique as its values are. */
export function telemetryRecord(number: number): TelemetryRecord & { values: TelemetryValues } {
  const timestamp = new Date(telemetryTimeMs(number)).toISOString()
  return { timestamp, values: { ...telemetryValues(number) } }
}

function pressureOf(index: number, block: number): number {
  const range = Math.floor(block / pressures)
  return (100_000 + range * pressures + pressureDigits(index, block)) / 100
}

function pressureDigits(index: number, block: number): number {
  return (index * pressureStep + block) % pressures
}

/** Ten bytes of text, as they are stored. */
export interface TenBytes {
  readonly four: number
  readonly fourMore: number
  readonly two: number
}

function tenBytes(text: string): TenBytes {
  const bytes = Buffer.from(text, 'latin1')
  assert.equal(bytes.length, 10)
  return {
    four: bytes.readUInt32BE(0),
    fourMore: bytes.readUInt32BE(4),
    two: bytes.readUInt16BE(8),
  }
}

export function writeTen(view: DataView, offset: number, bytes: TenBytes): void {
  view.setUint32(offset, bytes.four)
  view.setUint32(offset + 4, bytes.fourMore)
  view.setUint16(offset + 8, bytes.two)
}

/** Small uploads take many turns in one block. */
let changing: { readonly block: number; readonly digits: TenBytes } | undefined

/** The digits of a timestamp that a block changes. */
export function changingDigits(block: number): TenBytes {
  if (changing?.block !== block) {
    const time = new Date(epochMs + block * blockMs).toISOString()
    changing = { block, digits: tenBytes(time.slice(monthOffset, monthOffset + changingBytes)) }
  }
  return changing.digits
}

/** Where they stand in a timestamp. */
export const changingOffset = monthOffset

let json: BlockTemplate | undefined

const jsonStampOffset = '{"timestamp":"'.length + changingOffset
const jsonTailBytes = '00.00}},'.length

/** Uploads of `records` telemetry records as JSON; `records` divides 10,000. */
export function telemetryBodies(records: number): RecordSource {
  json ??= blockTemplate((index) => {
    const { timestamp, values } = telemetryRecord(index)
    const fields = `"temperature":${values.temperature},"humidity":${values.humidity}`
    // A fixed number of digits lets the pressure be patched in place.
    return `{"timestamp":"${timestamp}","values":{${fields},"pressure":1000.00}},`
  })
  const template = json
  const source = blockBodies({
    ...jsonEnvelope,
    records,
    template,
    blocksMax,
    patch: (slice) => {
      const digits = changingDigits(slice.block)
      for (let index = slice.begin; index < slice.end; index++) {
        const { view, move } = slice
        writeTen(view, move + (template.starts[index] as number) + jsonStampOffset, digits)
        writePressure(slice, (template.starts[index + 1] as number) - jsonTailBytes, index)
      }
    },
  })
  return { ...source, record: telemetryRecord }
}

const packr = new Packr({ useRecords: false })
/** Of a double with fractions: a type byte and eight more. */
const packedPressureBytes = 8

let packed: BlockTemplate | undefined

/** The same records as MessagePack; a pressure is a double of eight bytes even if it is whole. */
export function packedBodies(records: number): RecordSource {
  packed ??= blockTemplate((index) => {
    const { timestamp, values } = telemetryRecord(index)
    return packr.pack({ timestamp, values: { ...values, pressure: 1_000.001 } })
  })
  const template = packed
  const stampOffset = template.bytes.indexOf(telemetryRecord(0).timestamp) + changingOffset
  const source = blockBodies({
    contentType: 'application/msgpack',
    records,
    template,
    blocksMax,
    prefix: packedHead(records),
    suffix: new Uint8Array(0),
    separatorBytes: 0,
    patch: ({ view, move, begin, end, block }) => {
      const digits = changingDigits(block)
      for (let index = begin; index < end; index++) {
        writeTen(view, move + (template.starts[index] as number) + stampOffset, digits)
        const pressureAt = move + (template.starts[index + 1] as number) - packedPressureBytes
        view.setFloat64(pressureAt, pressureOf(index, block))
      }
    },
  })
  return { ...source, record: telemetryRecord }
}

/** A map of one, whose value is an array of so many. */
function packedHead(records: number): Uint8Array {
  const array = records < 16 ? [0x90 + records] : [0xdc, records >> 8, records & 0xff]
  return Buffer.concat([Buffer.of(0x81), packr.pack('records'), Buffer.from(array)])
}

let lines: BlockTemplate | undefined

const lineTail = '1000.00 1737331200000000000\n'
const lineNanosecondsOffset = '1000.00 '.length
const blockSeconds = blockMs / 1_000

/** The second of the minute that a record of a block lies in. */
const secondOf = Uint8Array.from({ length: blockRecords }, (_, index) =>
  Math.floor((telemetryTimeMs(index) - epochMs) / 1_000),
)

let secondsDigits: { readonly block: number; readonly digits: readonly TenBytes[] } | undefined

/** The ten digits of each second of a block, since 1970. */
function digitsOfSeconds(block: number): readonly TenBytes[] {
  if (secondsDigits?.block !== block) {
    const first = epochMs / 1_000 + block * blockSeconds
    const digits = Array.from({ length: blockSeconds }, (_, second) =>
      tenBytes(String(first + second)),
    )
    secondsDigits = { block, digits }
  }
  return secondsDigits.digits
}

/** The same records as points in InfluxDB's line protocol, with timestamps in nanoseconds. */
export function lineBodies(records: number): BodySource {
  lines ??= blockTemplate((index) => {
    const { temperature, humidity } = telemetryValues(index)
    const nanoseconds = `${telemetryTimeMs(index)}000000`
    const fields = `temperature=${temperature},humidity=${humidity},pressure=1000.00`
    return `telemetry ${fields} ${nanoseconds}\n`
  })
  const template = lines
  return blockBodies({
    contentType: 'text/plain',
    records,
    template,
    blocksMax,
    prefix: new Uint8Array(0),
    suffix: Buffer.from('\n'),
    separatorBytes: 1,
    patch: (slice) => {
      const digits = digitsOfSeconds(slice.block)
      for (let index = slice.begin; index < slice.end; index++) {
        const tail = (template.starts[index + 1] as number) - lineTail.length
        const second = digits[secondOf[index] as number] as TenBytes
        writeTen(slice.view, slice.move + tail + lineNanosecondsOffset, second)
        writePressure(slice, tail + '10'.length, index)
      }
    },
  })
}

const zero = '0'.charCodeAt(0)
const point = '.'.charCodeAt(0)

/**
 * Writes the five changing digits of a pressure `1ddd.dd`, of which `place` is the third, into its
 * place in the template: a 1 is there already.
 */
function writePressure({ view, move, block }: Slice, place: number, index: number): void {
  const offset = move + place
  const digits = pressureDigits(index, block)
  const whole = Math.floor(digits / 100)
  const range = (zero + Math.floor(block / pressures)) << 24
  view.setUint32(offset - 1, range | (twoDigitBytes(whole) << 8) | point)
  view.setUint16(offset + 3, twoDigitBytes(digits - whole * 100))
}
