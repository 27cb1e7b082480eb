import assert from 'node:assert/strict'
import type { BodySource } from './bodies.ts'

/**
 * Records are numbered through the whole run; each block of so many is patched from one template.
 */
export const blockRecords = 10_000

/** All records of block 0, each followed by what separates it from the next. */
export interface BlockTemplate {
  readonly bytes: Buffer
  /** Where record i begins; one more entry than records. */
  readonly starts: Uint32Array
}

export function blockTemplate(record: (index: number) => string | Uint8Array): BlockTemplate {
  const parts = Array.from({ length: blockRecords }, (_, index) => Buffer.from(record(index)))
  const starts = new Uint32Array(blockRecords + 1)
  parts.forEach((part, index) => {
    starts[index + 1] = (starts[index] as number) + part.length
  })
  return { bytes: Buffer.concat(parts), starts }
}

/** Part of a block in a target: record `index` stands at `move + starts[index]`. */
export interface Slice {
  /** Its stores of several bytes at once cost a third of single ones. */
  readonly view: DataView
  readonly move: number
  readonly begin: number
  readonly end: number
  readonly block: number
}

export interface BlockBodies {
  readonly contentType: string
  /** Divides `blockRecords`. */
  readonly records: number
  readonly template: BlockTemplate
  /** Past them a record would come twice. */
  readonly blocksMax: number
  readonly prefix: Uint8Array
  /** Stands in place of the last record's separator. */
  readonly suffix: Uint8Array
  readonly separatorBytes: number
  /** Writes what sets the block's records apart from those of block 0. */
  readonly patch: (slice: Slice) => void
}

/** What surrounds records that are JSON objects, each with a comma behind it. */
export const jsonEnvelope = {
  contentType: 'application/json',
  prefix: Buffer.from('{"records":['),
  suffix: Buffer.from(']}'),
  separatorBytes: 1,
} as const

export function blockBodies(bodies: BlockBodies): BodySource {
  const { records, template, prefix, suffix, separatorBytes, blocksMax } = bodies
  const { bytes, starts } = template
  assert(blockRecords % records === 0, 'an upload must not reach over two blocks')
  // A body that is a whole block has the same bytes beside those that are patched every time.
  const prepared = new WeakMap<Buffer, number>()
  return {
    contentType: bodies.contentType,
    bytesMax: prefix.length + longestSlice(starts, records) + suffix.length,
    records,
    write: (target, offset, first) => {
      const block = Math.floor(first / blockRecords)
      const begin = first % blockRecords
      assert(first % records === 0 && block < blocksMax, 'out of unique records')
      const sliceStart = starts[begin] as number
      const sliceEnd = (starts[begin + records] as number) - separatorBytes
      const at = offset + prefix.length
      if (records < blockRecords || prepared.get(target) !== offset) {
        target.set(prefix, offset)
        bytes.copy(target, at, sliceStart, sliceEnd)
        target.set(suffix, at + sliceEnd - sliceStart)
        prepared.set(target, offset)
      }
      const view = new DataView(target.buffer, target.byteOffset, target.byteLength)
      bodies.patch({ view, move: at - sliceStart, begin, end: begin + records, block })
      return prefix.length + sliceEnd - sliceStart + suffix.length
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

/** Numbers below a hundred as the bytes of their two digits. */
const twoDigits = Uint16Array.from(
  { length: 100 },
  (_, number) => ((zero + Math.floor(number / 10)) << 8) | (zero + (number % 10)),
)

/** The bytes of a number below a hundred as two digits, for `setUint16`. */
export function twoDigitBytes(number: number): number {
  return twoDigits[number] as number
}

/** Writes a number below 10,000 as four digits. */
export function writeFourDigits(view: DataView, offset: number, digits: number): void {
  const high = Math.floor(digits / 100)
  view.setUint16(offset, twoDigitBytes(high))
  view.setUint16(offset + 2, twoDigitBytes(digits - high * 100))
}
