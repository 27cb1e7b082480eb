import sharp from 'sharp'
import { jpegFrame, wavBuffer } from '../support/media.ts'
import { type BadCase, time } from './bad-case.ts'

const size = { width: 64, height: 48 }
const format = { sampleRate: 16_000, channels: 1, bitDepth: 16 }

function edited(bytes: Uint8Array, edit: (copy: Buffer) => void): Uint8Array {
  const copy = Buffer.from(bytes)
  edit(copy)
  return copy
}

/** The members with these changes; one that becomes undefined is left out. */
function changed(
  members: Readonly<Record<string, unknown>>,
  change: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const all = Object.entries({ ...members, ...change })
  return Object.fromEntries(all.filter(([, value]) => value !== undefined))
}

/** What is changed in a good frame, and the field that is told to be wrong. */
type Change = readonly [name: string, change: Record<string, unknown>, field: string]

function wrongFrames(jpeg: Uint8Array, png: Uint8Array): readonly Change[] {
  return [
    ['a JPEG that is cut off', { imageData: jpeg.subarray(0, -40) }, 'imageData'],
    ['a JPEG that ends in its header', { imageData: jpeg.subarray(0, 100) }, 'imageData'],
    ['a PNG named jpeg', { imageData: png }, 'imageData'],
    ['no image bytes', { imageData: new Uint8Array() }, 'imageData'],
    ['noise in place of a JPEG', { imageData: Buffer.alloc(1_000, 7) }, 'imageData'],
    ['two JPEGs in one frame', { imageData: Buffer.concat([jpeg, jpeg]) }, 'imageData'],
    ['a JPEG of another width', { width: 65 }, 'width'],
    ['a JPEG of another height', { height: 47 }, 'height'],
    ['a width of nothing', { width: 0 }, 'width'],
    ['a negative height', { height: -48 }, 'height'],
    ['a width in words', { width: '64' }, 'width'],
    ['a format that is not taken', { format: 'png' }, 'format'],
    ['a frame number in words', { frameNumber: 'two' }, 'frameNumber'],
    ['a negative frame number', { frameNumber: -1 }, 'frameNumber'],
    ['a fraction of a frame number', { frameNumber: 1.5 }, 'frameNumber'],
    ['a frame without zone in its time', { timestamp: '2025-01-20T10:30:00' }, 'timestamp'],
    ['a frame without bytes', { imageData: undefined }, 'imageData'],
    ['an unknown member of a frame', { codec: 'mjpeg' }, 'codec'],
  ]
}

/** Frames whose bytes or description is wrong. */
export async function badFrames(): Promise<BadCase[]> {
  const jpeg = await jpegFrame({ ...size, seed: 1, quality: 80 })
  const raw = { ...size, channels: 3 } as const
  const png = await sharp(Buffer.alloc(size.width * size.height * 3), { raw })
    .png()
    .toBuffer()
  const frame = { frameNumber: 2, timestamp: time, imageData: jpeg, format: 'jpeg', ...size }
  const asJson = { ...frame, imageData: Buffer.from(jpeg).toString('base64') }
  const halfScan = Buffer.concat([jpeg.subarray(0, jpeg.length >> 1), Buffer.from([0xff, 0xd9])])
  const wrongText: readonly (readonly [string, unknown])[] = [
    ['base64 that is none', '!!!not base64!!!'],
    ['base64 with a character too many', `${asJson.imageData}A`],
    ['base64 with a line break', `${asJson.imageData.slice(0, 76)}\n${asJson.imageData.slice(76)}`],
    ['an empty text of base64', ''],
    ['a data URL in place of base64', `data:image/jpeg;base64,${asJson.imageData}`],
    ['a number in place of base64', 12],
  ]
  const refused = { target: 'video', status: 422, code: 'INVALID_RECORDS' } as const
  return [
    ...wrongFrames(jpeg, png).map(([name, change, field]) => ({
      ...refused,
      name,
      msgpack: { frames: [changed(frame, change)] },
      invalid: { recordIndex: 0, field },
    })),
    ...wrongText.map(([name, imageData]) => ({
      ...refused,
      name,
      json: { frames: [{ ...asJson, imageData }] },
      invalid: { recordIndex: 0, field: 'imageData' },
    })),
    {
      ...refused,
      name: 'a picture without its lower half where pixels are verified',
      target: 'pixels',
      msgpack: { frames: [{ ...frame, imageData: halfScan }] },
      invalid: { recordIndex: 0, field: 'imageData' },
    },
    {
      name: 'records for a video session',
      target: 'video',
      json: { records: [{ timestamp: time, values: { a: 1 } }] },
      status: 422,
      code: 'INVALID_BODY',
    },
    {
      name: 'no frames at all',
      target: 'video',
      json: { frames: [] },
      status: 422,
      code: 'INVALID_BODY',
    },
  ]
}

/** Buffers whose header or description lies. */
export function badBuffers(): BadCase[] {
  const wav = wavBuffer({ sampleRate: 16_000, channels: 1, bitDepth: '16', seed: 1 })
  const buffer = { bufferNumber: 2, timestamp: time, audioData: wav, format: 'wav', ...format }
  const lies: readonly (readonly [string, (copy: Buffer) => void])[] = [
    ['a data chunk of 4 GB', (copy) => copy.writeUInt32LE(0xffff_ffff, 40)],
    ['a data chunk of one byte more than there is', (copy) => copy.writeUInt32LE(3_201, 40)],
    ['a RIFF size past the end', (copy) => copy.writeUInt32LE(0x7fff_ffff, 4)],
    ['65,535 channels', (copy) => copy.writeUInt16LE(65_535, 22)],
    ['no channels', (copy) => copy.writeUInt16LE(0, 22)],
    ['0 Hz', (copy) => copy.writeUInt32LE(0, 24)],
    ['4 GHz', (copy) => copy.writeUInt32LE(0xffff_ffff, 24)],
    ['a byte rate that does not fit', (copy) => copy.writeUInt32LE(1, 28)],
    ['a block size of nothing', (copy) => copy.writeUInt16LE(0, 32)],
    ['17 bits', (copy) => copy.writeUInt16LE(17, 34)],
    ['no bits', (copy) => copy.writeUInt16LE(0, 34)],
    ['an unknown format tag', (copy) => copy.writeUInt16LE(0x4242, 20)],
    ['floats of 16 bits', (copy) => copy.writeUInt16LE(3, 20)],
    ['a format chunk of 4 GB', (copy) => copy.writeUInt32LE(0xffff_ffff, 16)],
    ['no data chunk', (copy) => copy.write('atad', 36, 'latin1')],
    ['no format chunk', (copy) => copy.write('xxxx', 12, 'latin1')],
    ['another form type', (copy) => copy.write('AVI ', 8, 'latin1')],
    ['another container', (copy) => copy.write('RIFX', 0, 'latin1')],
  ]
  const wrong: readonly Change[] = [
    ...lies.map(
      ([name, edit]) =>
        [`a WAV header with ${name}`, { audioData: edited(wav, edit) }, 'audioData'] as const,
    ),
    ['a WAV that is cut off', { audioData: wav.subarray(0, -100) }, 'audioData'],
    ['a WAV that ends in its header', { audioData: wav.subarray(0, 30) }, 'audioData'],
    ['a WAV without samples', { audioData: emptyWav(wav) }, 'audioData'],
    ['no audio bytes', { audioData: new Uint8Array() }, 'audioData'],
    ['an MP3 named wav', { audioData: Buffer.from('ID3\u0003\u0000noise') }, 'audioData'],
    ['a WAV of another sample rate', { sampleRate: 44_100 }, 'sampleRate'],
    ['a WAV of another number of channels', { channels: 2 }, 'channels'],
    ['a WAV of another bit depth', { bitDepth: 24 }, 'bitDepth'],
    ['a sample rate in words', { sampleRate: '16000' }, 'sampleRate'],
    ['a format other than wav', { format: 'mp3' }, 'format'],
    ['a buffer without number', { bufferNumber: undefined }, 'bufferNumber'],
    ['30 February as time of a buffer', { timestamp: '2025-02-30T00:00:00Z' }, 'timestamp'],
  ]
  return wrong.map(([name, change, field]) => ({
    name,
    target: 'audio',
    msgpack: { buffers: [changed(buffer, change)] },
    status: 422,
    code: 'INVALID_RECORDS',
    invalid: { recordIndex: 0, field },
  }))
}

/** Header and nothing else, sizes as they should be. */
function emptyWav(wav: Uint8Array): Uint8Array {
  return edited(wav.subarray(0, 44), (copy) => {
    copy.writeUInt32LE(36, 4)
    copy.writeUInt32LE(0, 40)
  })
}
