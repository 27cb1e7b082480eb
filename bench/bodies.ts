import { bufferBodies, frameBodies } from './media-bodies.ts'
import { telemetryBodies } from './telemetry-bodies.ts'

export type BodyKind = 'telemetry' | 'frames' | 'buffers'
export type BodyEncoding = 'json' | 'msgpack'

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

/** A source whose items are atoms of their own bytes. */
export interface MediaSource extends BodySource {
  /** The bytes of item `number`, as the server has to give them back. */
  item(number: number): Buffer
  /** The name of the number in the item's metadata, and that number. */
  readonly numberField: 'frameNumber' | 'bufferNumber'
  shownNumber(number: number): number
}

export async function createBodySource(spec: BodySpec): Promise<BodySource> {
  if (spec.kind === 'telemetry') return telemetryBodies(spec.records)
  return createMediaSource(spec)
}

export function createMediaSource(spec: BodySpec): Promise<MediaSource> {
  return spec.kind === 'frames'
    ? frameBodies(spec.records, spec.encoding)
    : bufferBodies(spec.records, spec.encoding)
}
