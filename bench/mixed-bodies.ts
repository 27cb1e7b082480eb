import assert from 'node:assert/strict'
import {
  type BlockTemplate,
  blockBodies,
  blockRecords,
  blockTemplate,
  jsonEnvelope,
  writeFourDigits,
} from './block-bodies.ts'
import type { RecordSource } from './bodies.ts'
import {
  changingDigits,
  changingOffset,
  type TelemetryRecord,
  telemetryTimeMs,
  writeTen,
} from './telemetry-bodies.ts'

/** Four digits of each record name its block. */
const blocksMax = 10_000
/** Coprime to the blocks, so that a record's digits come once. */
const digitsStep = 7_919

/**
 * What a place says of itself: plain, escaped, beyond ASCII. Nothing beyond Latin-1: with it a text
 * takes two bytes a character, over which `JSON.parse` goes a quarter slower, and so would be
 * easier to outrun.
 */
const places = [
  'hall 3',
  'hall \\"B\\"',
  'Zürich Süd',
  'line\\t4\\n',
  'caf\\u00e9',
  'Malmö 2 °C',
] as const
const states = ['ok', 'degraded', 'failed'] as const

function digitsOf(index: number, block: number): number {
  return (index * digitsStep + block) % blocksMax
}

const shapes = 3

/** Record `index` of a block as JSON, with its timestamp and its four digits. */
function recordText(index: number, timestamp: string, digits: string): string {
  switch (index % shapes) {
    case 0:
      return climate(index, timestamp, digits)
    case 1:
      return machine(index, timestamp, digits)
    default:
      return position(index, timestamp, digits)
  }
}

/** Short decimals; every fourth has no humidity, every seventh no pressure but a null. */
function climate(index: number, timestamp: string, digits: string): string {
  const humidity = index % 4 === 0 ? '' : `"humidity":${(index % 1_000) / 10},`
  const pressure = index % 7 === 0 ? 'null' : '101.325'
  const values = `"temperature":${((index % 800) - 400) / 10},${humidity}"pressure":${pressure}`
  return `{"timestamp":"${timestamp}","values":{${values},"reading":${index}.${digits}}}`
}

/** Values before the timestamp; strings, truth values, whole numbers; some without a place. */
function machine(index: number, timestamp: string, digits: string): string {
  const turn = Math.floor(index / shapes)
  const place = turn % 5 === 0 ? '' : `"place":"${places[turn % places.length]}",`
  const state = `"state":"${states[turn % states.length]}","online":${turn % 11 !== 0}`
  const values = `"serial":"SN-${index}-${digits}",${place}${state},"starts":${index * 37}`
  return `{"values":{${values}},"timestamp":"${timestamp}"}`
}

/** Doubles of 17 digits, two of them under names that the first shape has too, in another order. */
function position(index: number, timestamp: string, digits: string): string {
  const latitude = `47.376${digits}${String(index + 10_000)
    .repeat(2)
    .slice(0, 8)}`
  const longitude = `-8.5417${String(index + 10_000)}123456${(index % 9) + 1}`
  const speed = index % 4 === 0 ? '' : `"speed":${index % 300}e-1,`
  const pressure = `99.${String(index + 10_000)}1234567891`
  const rest = `${speed}"pressure":${pressure},"temperature":${index % 40}`
  const values = `"latitude":${latitude},"longitude":${longitude},${rest}`
  return `{"timestamp":"${timestamp}","values":{${values}}}`
}

/** Record `number` of the mix of three shapes. */
export function mixedRecord(number: number): TelemetryRecord {
  const index = number % blockRecords
  const block = Math.floor(number / blockRecords)
  assert(block < blocksMax, 'out of unique records')
  const digits = String(digitsOf(index, block)).padStart(4, '0')
  return JSON.parse(recordText(index, new Date(telemetryTimeMs(number)).toISOString(), digits))
}

interface MixedTemplate extends BlockTemplate {
  /** Where in all the timestamp and the digits of record i stand. */
  readonly stamps: Uint32Array
  readonly digits: Uint32Array
}

const digitsMark = '####'
let mixed: MixedTemplate | undefined

function buildTemplate(): MixedTemplate {
  const timestamp = (index: number) => new Date(telemetryTimeMs(index)).toISOString()
  const block = blockTemplate((index) => `${recordText(index, timestamp(index), digitsMark)},`)
  const stamps = new Uint32Array(blockRecords)
  const digits = new Uint32Array(blockRecords)
  for (let index = 0; index < blockRecords; index++) {
    const start = block.starts[index] as number
    stamps[index] = block.bytes.indexOf(timestamp(index), start) + changingOffset
    digits[index] = block.bytes.indexOf(digitsMark, start)
  }
  return { ...block, stamps, digits }
}

/**
 * Uploads of telemetry records of three shapes in turn: fields that are not always there, strings
 * with escapes and beyond ASCII, nulls, truth values, doubles of 17 digits.
 */
export function mixedBodies(records: number): RecordSource {
  mixed ??= buildTemplate()
  const template = mixed
  const source = blockBodies({
    ...jsonEnvelope,
    records,
    template,
    blocksMax,
    patch: ({ view, move, begin, end, block }) => {
      const stamp = changingDigits(block)
      for (let index = begin; index < end; index++) {
        writeTen(view, move + (template.stamps[index] as number), stamp)
        writeFourDigits(view, move + (template.digits[index] as number), digitsOf(index, block))
      }
    },
  })
  return { ...source, record: mixedRecord }
}
