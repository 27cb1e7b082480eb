import assert from 'node:assert/strict'
import { Packr } from 'msgpackr'
import sharp from 'sharp'
import type { BodyEncoding, MediaSource } from './bodies.ts'
import { seededRandom } from './random.ts'

interface FrameSize {
  readonly width: number
  readonly height: number
  readonly quality: number
}

/** About 200 KB and 12 KB. */
const largeFrame: FrameSize = { width: 1_920, height: 1_080, quality: 54 }
const smallFrame: FrameSize = { width: 320, height: 240, quality: 75 }
const bufferSampleRateHz = 44_100
const bufferChannels = 2
const bufferBitDepth = 16
const bufferSeconds = 0.1

const epochMs = Date.parse('2025-01-20T00:00:00.000Z')
/** So many different pictures or sounds; items that share one differ in their counter. */
const originals = 8
/**
 * Every item bears its number in so many digits: twelve bytes are sixteen characters of base64.
 */
const counterDigits = 12
/** Shown numbers keep seven digits in JSON and five bytes in msgpack from here to the bound. */
const shownNumberFirst = 1_000_000
const mediaItemsMax = 9_000_000

interface MediaItemKind {
  readonly list: 'frames' | 'buffers'
  readonly numberField: 'frameNumber' | 'bufferNumber'
  readonly dataField: 'imageData' | 'audioData'
  readonly stepMs: number
  readonly rest: Readonly<Record<string, string | number>>
  /** The originals, and where in each the counter stands: a multiple of three, for base64. */
  readonly bytes: readonly Buffer[]
  readonly counterOffset: number
}

/**
 * A JPEG of seeded noise at a quarter of its size, so that it has texture to compress. A comment
 * segment right after the start of the image takes the counter; decoders skip it, and with it every
 * frame has its own hash.
 */
async function noiseFrame(size: FrameSize, seed: number): Promise<Buffer> {
  const width = size.width / 4
  const height = size.height / 4
  const random = seededRandom(seed)
  const pixels = Buffer.alloc(width * height * 3)
  for (let i = 0; i < pixels.length; i++) pixels[i] = 98 + random() * 60
  const jpeg = await sharp(pixels, { raw: { width, height, channels: 3 } })
    .resize(size.width, size.height, { kernel: 'cubic' })
    .jpeg({ quality: size.quality })
    .toBuffer()
  const comment = Buffer.alloc(4 + counterDigits, '0')
  comment.writeUInt16BE(0xfffe, 0)
  comment.writeUInt16BE(2 + counterDigits, 2)
  return Buffer.concat([jpeg.subarray(0, 2), comment, jpeg.subarray(2)])
}

/** A WAV file of 100 ms of seeded noise; its first samples take the counter. */
function noiseBuffer(seed: number): Buffer {
  const frameBytes = (bufferChannels * bufferBitDepth) / 8
  const dataBytes = bufferSampleRateHz * bufferSeconds * frameBytes
  const wav = Buffer.alloc(44 + dataBytes)
  wav.write('RIFF', 0, 'latin1')
  wav.writeUInt32LE(36 + dataBytes, 4)
  wav.write('WAVEfmt ', 8, 'latin1')
  wav.writeUInt32LE(16, 16)
  wav.writeUInt16LE(1, 20)
  wav.writeUInt16LE(bufferChannels, 22)
  wav.writeUInt32LE(bufferSampleRateHz, 24)
  wav.writeUInt32LE(bufferSampleRateHz * frameBytes, 28)
  wav.writeUInt16LE(frameBytes, 32)
  wav.writeUInt16LE(bufferBitDepth, 34)
  wav.write('data', 36, 'latin1')
  wav.writeUInt32LE(dataBytes, 40)
  const random = seededRandom(seed)
  for (let offset = 44; offset < wav.length; offset += 2) {
    wav.writeInt16LE(Math.floor((random() - 0.5) * 20_000), offset)
  }
  return wav
}

const frameKinds = new Map<FrameSize, Promise<MediaItemKind>>()

function frames(size: FrameSize): Promise<MediaItemKind> {
  const made = frameKinds.get(size) ?? makeFrames(size)
  frameKinds.set(size, made)
  return made
}

async function makeFrames(size: FrameSize): Promise<MediaItemKind> {
  return {
    list: 'frames',
    numberField: 'frameNumber',
    dataField: 'imageData',
    stepMs: 33,
    rest: { format: 'jpeg', width: size.width, height: size.height },
    bytes: await Promise.all(Array.from({ length: originals }, (_, i) => noiseFrame(size, i + 1))),
    counterOffset: 6,
  }
}

let bufferKind: MediaItemKind | undefined

function buffers(): MediaItemKind {
  bufferKind ??= {
    list: 'buffers',
    numberField: 'bufferNumber',
    dataField: 'audioData',
    stepMs: bufferSeconds * 1_000,
    rest: {
      format: 'wav',
      sampleRate: bufferSampleRateHz,
      channels: bufferChannels,
      bitDepth: bufferBitDepth,
    },
    bytes: Array.from({ length: originals }, (_, i) => noiseBuffer(i + 1)),
    counterOffset: 45,
  }
  return bufferKind
}

/** Uploads of `records` JPEG frames of 1920×1080. */
export async function frameBodies(records: number, encoding: BodyEncoding): Promise<MediaSource> {
  return mediaBodies(await frames(largeFrame), records, encoding)
}

/** Uploads of `records` JPEG frames of 320×240. */
export async function smallFrameBodies(
  records: number,
  encoding: BodyEncoding,
): Promise<MediaSource> {
  return mediaBodies(await frames(smallFrame), records, encoding)
}

/** Uploads of `records` WAV buffers. */
export async function bufferBodies(records: number, encoding: BodyEncoding): Promise<MediaSource> {
  return mediaBodies(buffers(), records, encoding)
}

/** Where in a finished body the changing parts of each item stand. */
interface BodyTemplate {
  readonly bytes: Buffer
  readonly places: readonly { number: number; timestamp: number; counter: number }[]
}

const packr = new Packr({ useRecords: false })

function buildBody(kind: MediaItemKind, records: number, encoding: BodyEncoding): BodyTemplate {
  const items = Array.from({ length: records }, (_, index) => {
    const data = kind.bytes[index % originals] as Buffer
    return {
      [kind.numberField]: shownNumberFirst,
      timestamp: new Date(epochMs).toISOString(),
      [kind.dataField]: encoding === 'json' ? data.toString('base64') : data,
      ...kind.rest,
    }
  })
  const body = { [kind.list]: items }
  const bytes = encoding === 'json' ? Buffer.from(JSON.stringify(body)) : packr.pack(body)
  // One byte of msgpack's own or two of JSON's (`":`) stand between a name and its number.
  const numberGap = encoding === 'json' ? 2 : 1
  const counterAt = encoding === 'json' ? (kind.counterOffset / 3) * 4 : kind.counterOffset
  let from = 0
  const places = items.map((_, index) => {
    const data = kind.bytes[index % originals] as Buffer
    const nameAt = bytes.indexOf(kind.numberField, from)
    const timestamp = bytes.indexOf(new Date(epochMs).toISOString(), nameAt)
    const shown = encoding === 'json' ? data.toString('base64', 0, 300) : data.subarray(0, 300)
    const dataAt = bytes.indexOf(shown, timestamp)
    assert(nameAt > 0 && timestamp > 0 && dataAt > 0, 'the finished body bears every item')
    from = dataAt + (encoding === 'json' ? Math.ceil(data.length / 3) * 4 : data.length)
    return {
      number: nameAt + kind.numberField.length + numberGap,
      timestamp,
      counter: dataAt + counterAt,
    }
  })
  return { bytes, places }
}

function mediaBodies(kind: MediaItemKind, records: number, encoding: BodyEncoding): MediaSource {
  const template = buildBody(kind, records, encoding)
  // Twenty megabytes are worth copying but once into each target.
  const prepared = new WeakMap<Buffer, number>()
  const shownNumber = (number: number) => shownNumberFirst + number
  return {
    contentType: encoding === 'json' ? 'application/json' : 'application/msgpack',
    bytesMax: template.bytes.length,
    records,
    numberField: kind.numberField,
    shownNumber,
    write: (target, offset, first) => {
      assert(first % records === 0 && first + records <= mediaItemsMax, 'out of unique items')
      if (prepared.get(target) !== offset) {
        template.bytes.copy(target, offset)
        prepared.set(target, offset)
      }
      template.places.forEach((place, index) => {
        const number = first + index
        const digits = String(number).padStart(counterDigits, '0')
        const timestamp = new Date(epochMs + number * kind.stepMs).toISOString()
        target.write(timestamp, offset + place.timestamp, 'latin1')
        if (encoding === 'json') {
          target.write(String(shownNumber(number)), offset + place.number, 'latin1')
          target.write(btoa(digits), offset + place.counter, 'latin1')
        } else {
          target.writeUInt32BE(shownNumber(number), offset + place.number)
          target.write(digits, offset + place.counter, 'latin1')
        }
      })
      return template.bytes.length
    },
    item: (number) => {
      const bytes = Buffer.from(kind.bytes[(number % records) % originals] as Buffer)
      bytes.write(String(number).padStart(counterDigits, '0'), kind.counterOffset, 'latin1')
      return bytes
    },
  }
}
