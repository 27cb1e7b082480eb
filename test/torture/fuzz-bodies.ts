import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { pack } from 'msgpackr'
import { jpegFrame, wavBuffer } from '../support/media.ts'
import type { CargoKind, Encoding } from './cargo.ts'
import { nastyBytes, nastyLargeTexts, nastyMsgpack, nastyTexts, placesFor } from './corpus.ts'
import { mutate } from './mutations.ts'
import type { Random } from './random.ts'

export interface FuzzBody {
  readonly kind: CargoKind
  readonly encoding: Encoding
  readonly gzip: boolean
  readonly bytes: Buffer
  /** How it was made, for who looks for the cause of a failure. */
  readonly origin: string
}

const kinds: readonly CargoKind[] = ['telemetry', 'telemetry', 'video', 'audio']
const mediaSize = { width: 16, height: 16 }
const sound = { sampleRate: 8_000, channels: 1, bitDepth: '16', durationMs: 5 }
const startMs = Date.UTC(2025, 0, 20, 10, 30)
const samplesPerPool = 2_000

/** Any JSON value, strange keys and surrogates included. */
const anything = fc.anything({
  withBigInt: false,
  withNullPrototype: true,
  maxDepth: 4,
  key: fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('__proto__', 'constructor', 'toString', '', '0'),
  ),
})
const scalar = fc.oneof(
  fc.double(),
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'grapheme' }),
)
const timestamp = fc.oneof(
  { weight: 4, arbitrary: fc.date({ noInvalidDate: true }).map((date) => date.toISOString()) },
  { weight: 2, arbitrary: fc.double() },
  { weight: 1, arbitrary: fc.string() },
)
const values = fc.dictionary(fc.oneof(fc.string(), fc.string({ unit: 'binary' })), scalar)
const shaped = fc.oneof(
  fc.record({ records: fc.array(fc.record({ timestamp, values })) }),
  fc.record({ records: fc.array(fc.oneof(fc.record({ timestamp, values }), anything)) }),
  fc.record({ records: anything }),
  fc.record({ frames: fc.array(fc.record({ timestamp, imageData: fc.base64String() })) }),
  fc.record({ buffers: fc.array(fc.record({ timestamp, audioData: fc.base64String() })) }),
)

/** Bodies of uploads, from valid ones to noise; what one is like follows from the source given. */
export class FuzzBodies {
  readonly #frame: Uint8Array
  readonly #buffer: Uint8Array
  readonly #samples: readonly unknown[]

  private constructor(frame: Uint8Array, buffer: Uint8Array, samples: readonly unknown[]) {
    this.#frame = frame
    this.#buffer = buffer
    this.#samples = samples
  }

  /** The seed decides the samples of fast-check. */
  static async make(seed: number): Promise<FuzzBodies> {
    const arbitrary = fc.oneof(anything, { weight: 2, arbitrary: shaped })
    const samples = fc.sample(arbitrary, { numRuns: samplesPerPool, seed: seed | 0 })
    return new FuzzBodies(await jpegFrame(mediaSize), wavBuffer(sound), samples)
  }

  next(random: Random): FuzzBody {
    const kind = random.pick(kinds)
    const encoding: Encoding = random.chance(0.7) ? 'json' : 'msgpack'
    const [origin, bytes] = this.#plain(kind, encoding, random)
    if (!random.chance(0.06)) return { kind, encoding, gzip: false, bytes, origin }
    const zipped = gzipSync(bytes, { level: 1 })
    const isDamaged = random.chance(0.5)
    return {
      kind,
      encoding,
      gzip: true,
      bytes: isDamaged ? mutate(zipped, random, bytes) : zipped,
      origin: `${origin}, gzip${isDamaged ? ' damaged' : ''}`,
    }
  }

  /** A message for a WebSocket: the same, mostly in an envelope. */
  nextMessage(random: Random): FuzzBody {
    const kind = random.pick(kinds)
    const encoding: Encoding = random.chance(0.7) ? 'json' : 'msgpack'
    if (!random.chance(0.6)) {
      const [origin, bytes] = this.#plain(kind, encoding, random)
      return { kind, encoding, gzip: false, bytes, origin }
    }
    const valid = this.#valid(kind, encoding, random)
    const message = encode({ type: kind, id: random.int(0, 1e9), ...valid }, encoding)
    const isDamaged = random.chance(0.6)
    return {
      kind,
      encoding,
      gzip: false,
      bytes: isDamaged ? mutate(message, random, message) : message,
      origin: isDamaged ? 'damaged message' : 'valid message',
    }
  }

  #plain(kind: CargoKind, encoding: Encoding, random: Random): [string, Buffer] {
    const way = random.float(0, 1)
    if (way < 0.1) return ['valid', encode(this.#valid(kind, encoding, random), encoding)]
    if (way < 0.5) {
      const valid = encode(this.#valid(kind, encoding, random), encoding)
      const other = encode(this.#valid(random.pick(kinds), encoding, random), encoding)
      return ['damaged', mutate(valid, random, other)]
    }
    if (way < 0.62) return ['fast-check', encode(random.pick(this.#samples), encoding)]
    return encoding === 'json' ? nastyJson(kind, random) : this.#nastyPacked(kind, random)
  }

  #valid(kind: CargoKind, encoding: Encoding, random: Random): Record<string, unknown> {
    const count = random.int(1, 4)
    const items = Array.from({ length: count }, () => this.#item(kind, encoding, random))
    const list = { telemetry: 'records', video: 'frames', audio: 'buffers' }[kind]
    return { [list]: items }
  }

  #item(kind: CargoKind, encoding: Encoding, random: Random): Record<string, unknown> {
    const atMs = startMs + random.int(0, 1e9)
    const timestamp = random.chance(0.3) ? atMs : new Date(atMs).toISOString()
    const number = random.int(0, 1e6)
    switch (kind) {
      case 'telemetry':
        return {
          timestamp,
          values: { n: number, half: number / 2, on: random.chance(0.5), name: `name ${number}` },
        }
      case 'video': {
        const imageData = media(this.#frame, encoding)
        return { frameNumber: number, timestamp, imageData, format: 'jpeg', ...mediaSize }
      }
      case 'audio': {
        const { sampleRate, channels, bitDepth } = sound
        const form = { format: 'wav', sampleRate, channels, bitDepth: Number(bitDepth) }
        return {
          bufferNumber: number,
          timestamp,
          audioData: media(this.#buffer, encoding),
          ...form,
        }
      }
    }
  }

  #nastyPacked(kind: CargoKind, random: Random): [string, Buffer] {
    const nasty = random.pick(nastyMsgpack)
    if (random.chance(0.2)) return ['nasty msgpack', nasty]
    const packed = pack(this.#valid(kind, 'msgpack', random))
    const at = random.int(0, packed.length)
    const tail = packed.subarray(random.chance(0.5) ? at : at + 1)
    return ['nasty msgpack in place', Buffer.concat([packed.subarray(0, at), nasty, tail])]
  }
}

/** A text of the corpus at one of the places for it. */
function nastyJson(kind: CargoKind, random: Random): [string, Buffer] {
  const place = random.pick(placesFor(kind))
  if (random.chance(0.04)) {
    const parts = place.split('#').map((part) => Buffer.from(part))
    const [head = Buffer.alloc(0), ...rest] = parts
    const bytes = rest.flatMap((part) => [random.pick(nastyBytes), part])
    return [`nasty bytes in ${place}`, Buffer.concat([head, ...bytes])]
  }
  const text = random.chance(0.004) ? random.pick(nastyLargeTexts)() : null
  const filled = place.replaceAll('#', () => text ?? random.pick(nastyTexts))
  return [`nasty text in ${place}`, Buffer.from(filled)]
}

/** A text of the corpus in a body that is no upload. */
export function nastyBody(place: string, random: Random): Buffer {
  return Buffer.from(place.replaceAll('#', () => random.pick(nastyTexts)))
}

function encode(document: unknown, encoding: Encoding): Buffer {
  if (encoding === 'msgpack') return Buffer.from(pack(document))
  return Buffer.from(JSON.stringify(document) ?? 'undefined')
}

function media(bytes: Uint8Array, encoding: Encoding): string | Uint8Array {
  return encoding === 'msgpack' ? bytes : Buffer.from(bytes).toString('base64')
}
