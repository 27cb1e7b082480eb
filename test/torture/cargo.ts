import { jpegFrame, wavBuffer } from '../support/media.ts'

export type CargoKind = 'telemetry' | 'video' | 'audio'
/** Bytes stand in msgpack as they are, in JSON as base64. */
export type Encoding = 'json' | 'msgpack'

const frameSize = { width: 64, height: 48 }
const sound = { sampleRate: 8_000, channels: 1, bitDepth: '16', durationMs: 20 }
const startMs = Date.UTC(2025, 0, 20, 10, 30)
const mediaSeeds = [1, 2, 3, 4, 5, 6, 7, 8]

/**
 * Items that bear a number each: a record in its field `n`, a frame and a buffer in their own numbers.
 * What else an item holds follows from its number, so that an upload can be made again, and what is
 * read back be compared.
 */
export class Cargo {
  readonly #frames: readonly Uint8Array[]
  readonly #buffers: readonly Uint8Array[]

  private constructor(frames: readonly Uint8Array[], buffers: readonly Uint8Array[]) {
    this.#frames = frames
    this.#buffers = buffers
  }

  static async make(): Promise<Cargo> {
    const frames = await Promise.all(mediaSeeds.map((seed) => jpegFrame({ ...frameSize, seed })))
    return new Cargo(
      frames,
      mediaSeeds.map((seed) => wavBuffer({ ...sound, seed })),
    )
  }

  /** The body of an upload of the items `first` to `first + count - 1`. */
  body(kind: CargoKind, encoding: Encoding, first: number, count: number): Record<string, unknown> {
    const numbers = Array.from({ length: count }, (_, index) => first + index)
    switch (kind) {
      case 'telemetry':
        return { records: numbers.map((n) => ({ timestamp: timeOf(n), values: valuesOf(n) })) }
      case 'video':
        return {
          frames: numbers.map((n) => ({
            frameNumber: n,
            timestamp: timeOf(n),
            imageData: encoded(this.#frames, n, encoding),
            format: 'jpeg',
            ...frameSize,
          })),
        }
      case 'audio':
        return {
          buffers: numbers.map((n) => ({
            bufferNumber: n,
            timestamp: timeOf(n),
            audioData: encoded(this.#buffers, n, encoding),
            format: 'wav',
            sampleRate: sound.sampleRate,
            channels: sound.channels,
            bitDepth: Number(sound.bitDepth),
          })),
        }
    }
  }

  /** The bytes of a frame or buffer. */
  bytes(kind: CargoKind, n: number): Uint8Array {
    const list = kind === 'video' ? this.#frames : this.#buffers
    return list[n % list.length] ?? new Uint8Array()
  }
}

export function valuesOf(n: number): Readonly<Record<string, string | number | boolean>> {
  return { n, half: n / 2, even: n % 2 === 0, name: `record ${n}` }
}

/** The member of a body, or of an atom's metadata, that bears the number. */
export const numberMembers = { video: 'frameNumber', audio: 'bufferNumber' } as const

/** The list in a body. */
export const listNames = { telemetry: 'records', video: 'frames', audio: 'buffers' } as const

function timeOf(n: number): string {
  return new Date(startMs + n * 10).toISOString()
}

function encoded(list: readonly Uint8Array[], n: number, encoding: Encoding): string | Uint8Array {
  const bytes = list[n % list.length] ?? new Uint8Array()
  return encoding === 'msgpack' ? bytes : Buffer.from(bytes).toString('base64')
}
