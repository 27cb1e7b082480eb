import assert from 'node:assert/strict'
import type { BodySource } from './bodies.ts'

export interface TelemetryRecord {
  readonly timestamp: string
  readonly values: {
    readonly temperature: number
    readonly humidity: number
    readonly pressure: number
  }
}

/**
 * Records are numbered through the whole run; each block of so many is patched from one template.
 */
const blockRecords = 10_000
/** As many blocks as pressures: past it a record would come twice. */
export const telemetryRecordsMax = blockRecords * 10_000

const epochMs = Date.parse('2025-01-20T00:00:00.000Z')
// Both are coprime to what they are taken modulo, so neither sequence repeats before its end.
const pairStep = 99_991
const pressureStep = 7_919
const pairs = 1_000_000
const pressures = 10_000

// What a block changes of a timestamp: "2025-01-" and "0.000Z" stand, "20T10:30:0" between does
// not.
const dayOffset = '2025-01-'.length
const changingBytes = '20T10:30:0'.length

/**
 * Record `number`. Its temperature and humidity name its place in the block (the pair is one of a
 * million and none comes twice), its pressure the block, its timestamp both: values as well as
 * timestamps are unique. They have the decimals of the documented example.
 */
export function telemetryRecord(number: number): TelemetryRecord {
  assert(number < telemetryRecordsMax, 'out of unique records')
  const index = number % blockRecords
  const pair = (index * pairStep) % pairs
  return {
    timestamp: new Date(epochMs + number).toISOString(),
    values: {
      temperature: ((pair % 1_000) - 100) / 10,
      humidity: Math.floor(pair / 1_000) / 10,
      pressure: 1_000 + pressureDigits(index, Math.floor(number / blockRecords)) / 100,
    },
  }
}

function pressureDigits(index: number, block: number): number {
  return (index * pressureStep + block) % pressures
}

interface Template {
  /** All records of block 0, each followed by a comma. */
  readonly bytes: Buffer
  /** Where record i begins; one more entry than records. */
  readonly starts: Uint32Array
  /**
   * Where the four changing digits of record i's pressure are: "10" comes before, a point amid.
   */
  readonly pressures: Uint32Array
}

let template: Template | undefined

function blockTemplate(): Template {
  template ??= buildTemplate()
  return template
}

function buildTemplate(): Template {
  const starts = new Uint32Array(blockRecords + 1)
  const pressureOffsets = new Uint32Array(blockRecords)
  const parts: string[] = []
  let offset = 0
  for (let index = 0; index < blockRecords; index++) {
    const record = telemetryRecord(index)
    const values = `"temperature":${record.values.temperature},"humidity":${record.values.humidity}`
    const head = `{"timestamp":"${record.timestamp}","values":{${values},"pressure":10`
    // The pressure has four digits that change; a fixed number of them lets them be patched in
    // place.
    const text = `${head}00.00}},`
    starts[index] = offset
    pressureOffsets[index] = offset + head.length
    parts.push(text)
    offset += text.length
  }
  starts[blockRecords] = offset
  return { bytes: Buffer.from(parts.join(''), 'latin1'), starts, pressures: pressureOffsets }
}

const prefix = Buffer.from('{"records":[')
const timestampOffset = '{"timestamp":"'.length + dayOffset

/** Uploads of `records` telemetry records as JSON; `records` divides 10,000. */
export function telemetryBodies(records: number): BodySource {
  assert(blockRecords % records === 0, 'an upload must not reach over two blocks')
  const { bytes, starts, pressures: pressureOffsets } = blockTemplate()
  return {
    contentType: 'application/json',
    bytesMax: prefix.length + longestSlice(starts, records) + 1,
    records,
    write: (target, offset, first) => {
      const block = Math.floor(first / blockRecords)
      const begin = first % blockRecords
      const sliceStart = starts[begin] as number
      const sliceEnd = starts[begin + records] as number
      assert(first % records === 0 && first < telemetryRecordsMax, 'out of unique records')
      prefix.copy(target, offset)
      const at = offset + prefix.length
      // The last record's comma gives way to the closing brackets.
      bytes.copy(target, at, sliceStart, sliceEnd - 1)
      target.write(']}', at + sliceEnd - sliceStart - 1, 'latin1')
      const blockTime = new Date(epochMs + block * blockRecords).toISOString()
      const changing = Buffer.from(blockTime.slice(dayOffset, dayOffset + changingBytes), 'latin1')
      for (let index = begin; index < begin + records; index++) {
        const move = at - sliceStart
        const stamp = move + (starts[index] as number) + timestampOffset
        // Ten single stores beat one call of copy for so few bytes.
        for (let i = 0; i < changingBytes; i++) target[stamp + i] = changing[i] as number
        writePressure(
          target,
          move + (pressureOffsets[index] as number),
          pressureDigits(index, block),
        )
      }
      return prefix.length + (sliceEnd - sliceStart - 1) + 2
    },
  }
}

function longestSlice(starts: Uint32Array, records: number): number {
  let longest = 0
  for (let begin = 0; begin < blockRecords; begin += records) {
    longest = Math.max(longest, (starts[begin + records] as number) - (starts[begin] as number))
  }
  return longest
}

const zero = '0'.charCodeAt(0)

/** Writes `dd.dd`; the point is there already. */
function writePressure(target: Buffer, offset: number, digits: number): void {
  target[offset] = zero + Math.floor(digits / 1_000)
  target[offset + 1] = zero + (Math.floor(digits / 100) % 10)
  target[offset + 3] = zero + (Math.floor(digits / 10) % 10)
  target[offset + 4] = zero + (digits % 10)
}
