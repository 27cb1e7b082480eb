import { bufferBodies, frameBodies, smallFrameBodies } from './media-bodies.ts'
import { mixedBodies } from './mixed-bodies.ts'
import {
  lineBodies,
  packedBodies,
  type TelemetryRecord,
  telemetryBodies,
} from './telemetry-bodies.ts'

/** `mixed` is telemetry of three shapes in one body, `small-frames` are 320×240. */
export type BodyKind = 'telemetry' | 'mixed' | 'frames' | 'small-frames' | 'buffers'
/** `lines` is InfluxDB's line protocol, which no session takes. */
export type BodyEncoding = 'json' | 'msgpack' | 'lines'

export interface BodySpec {
  readonly kind: BodyKind
  readonly encoding: BodyEncoding
  /** Records, frames or buffers in one upload. */
  readonly records: number
}

/**
 * Makes uploads of one size. Building a body anew costs more than the server needs to take it, so
 * a source keeps finished bytes and only patches what makes an upload unique. Upload `first`
 * always has the same bytes, which is how what is read back can be compared without keeping what
 * was sent.
 */
export interface BodySource {
  readonly contentType: string
  /** No upload of this source is longer. */
  readonly bytesMax: number
  /** Numbers of uploads are multiples of this, so that every upload lies within one block. */
  readonly records: number
  /**
   * Writes the upload of records `first` to `first + records - 1` to `target` at `offset` and
   * gives its length in bytes. `target` belongs to one source alone: what does not change is
   * written once.
   */
  write(target: Buffer, offset: number, first: number): number
}

/** A source of telemetry that a session takes. */
export interface RecordSource extends BodySource {
  /** What stands in the upload under that number. */
  record(number: number): TelemetryRecord
}

/** A source whose items are atoms of their own bytes. */
export interface MediaSource extends BodySource {
  /** The bytes of item `number`, as the server has to give them back. */
  item(number: number): Buffer
  /** The name of the number in the item's metadata, and that number. */
  readonly numberField: 'frameNumber' | 'bufferNumber'
  shownNumber(number: number): number
}

export function isTelemetry({ kind }: BodySpec): boolean {
  return kind === 'telemetry' || kind === 'mixed'
}

export async function createBodySource(spec: BodySpec): Promise<BodySource> {
  if (spec.encoding === 'lines') return lineBodies(spec.records)
  return isTelemetry(spec) ? createRecordSource(spec) : createMediaSource(spec)
}

export function createRecordSource({ kind, encoding, records }: BodySpec): RecordSource {
  if (kind === 'mixed') return mixedBodies(records)
  return encoding === 'msgpack' ? packedBodies(records) : telemetryBodies(records)
}

export function createMediaSource({ kind, encoding, records }: BodySpec): Promise<MediaSource> {
  switch (kind) {
    case 'frames':
      return frameBodies(records, encoding)
    case 'small-frames':
      return smallFrameBodies(records, encoding)
    default:
      return bufferBodies(records, encoding)
  }
}
