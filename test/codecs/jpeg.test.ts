import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import sharp from 'sharp'
import { readJpegStructure } from '../../src/codecs/jpeg.ts'
import { MediaFault, type MediaFaultReason } from '../../src/codecs/media-fault.ts'
import { limits } from '../../src/limits.ts'
import { jpegFrame } from '../support/media.ts'

const frame = await jpegFrame({ width: 64, height: 48 })
const progressive = await jpegFrame({ width: 64, height: 48, progressive: true })

function refuses(bytes: Uint8Array, reason: MediaFaultReason, message: RegExp): MediaFault {
  try {
    readJpegStructure(bytes)
  } catch (error) {
    assert.ok(error instanceof MediaFault, String(error))
    assert.equal(error.reason, reason, error.message)
    assert.match(error.message, message)
    assert.ok(error.byteOffset >= 0 && error.byteOffset <= bytes.length)
    return error
  }
  assert.fail('the bytes were accepted')
}

/**
 * Position of the first segment with this marker; before the scan data no other 0xFF is followed
 * by it.
 */
function segment(bytes: Uint8Array, marker: number): number {
  const at = Buffer.from(bytes).indexOf(Buffer.from([0xff, marker]))
  assert.notEqual(at, -1)
  return at
}

function patched(bytes: Uint8Array, at: number, ...values: number[]): Uint8Array {
  const copy = bytes.slice()
  copy.set(values, at)
  return copy
}

function without(bytes: Uint8Array, at: number): Uint8Array {
  const end = at + 2 + Buffer.from(bytes).readUInt16BE(at + 2)
  return Buffer.concat([bytes.subarray(0, at), bytes.subarray(end)])
}

function inserted(bytes: Uint8Array, at: number, ...values: number[]): Uint8Array {
  return Buffer.concat([bytes.subarray(0, at), Buffer.from(values), bytes.subarray(at)])
}

test('a baseline frame tells its size, precision and components', () => {
  assert.deepEqual(readJpegStructure(frame), {
    encoding: 'baseline',
    precision: 8,
    width: 64,
    height: 48,
    components: 3,
    scans: 1,
  })
})

test('a progressive frame is read over all its scans', () => {
  const structure = readJpegStructure(progressive)
  assert.equal(structure.encoding, 'progressive')
  assert.ok(structure.scans > 1)
})

test('a grey frame has one component', async () => {
  const pixels = Buffer.alloc(32 * 32, 90)
  const raw = { width: 32, height: 32, channels: 1 as const }
  const grey = await sharp(pixels, { raw }).toColourspace('b-w').jpeg().toBuffer()
  assert.equal(readJpegStructure(grey).components, 1)
})

test('a frame that begins inside a larger buffer is read where it lies', () => {
  const larger = Buffer.concat([Buffer.alloc(7, 0xff), frame, Buffer.alloc(9, 1)])
  const view = new Uint8Array(larger.buffer, larger.byteOffset + 7, frame.length)
  assert.deepEqual(readJpegStructure(view), readJpegStructure(frame))
})

test('fill bytes before a marker and padding after the end are allowed', () => {
  const filled = inserted(frame, segment(frame, 0xdb), 0xff, 0xff)
  assert.equal(readJpegStructure(filled).width, 64)
  assert.equal(readJpegStructure(Buffer.concat([frame, Buffer.from([0, 0xff, 0])])).width, 64)
})

test('a comment and an unknown application segment are passed over', () => {
  const commented = inserted(frame, 2, 0xff, 0xfe, 0, 4, 0xff, 0xd9, 0xff, 0xed, 0, 3, 7)
  assert.equal(readJpegStructure(commented).height, 48)
})

test('an empty frame is refused as empty', () => {
  refuses(new Uint8Array(0), 'empty', /empty/)
})

test('a frame cut at any byte is refused', () => {
  for (const bytes of [frame, progressive]) {
    for (let length = 1; length < bytes.length; length++) {
      assert.throws(() => readJpegStructure(bytes.subarray(0, length)), MediaFault)
    }
  }
  refuses(frame.subarray(0, frame.length - 2), 'truncated', /entropy-coded/)
  refuses(frame.subarray(0, 40), 'truncated', /inside a segment|end-of-image/)
})

test('other formats are named by their magic', async () => {
  const image = sharp({ create: { width: 8, height: 8, channels: 3, background: 'red' } })
  refuses(await image.clone().png().toBuffer(), 'wrong-format', /this is a PNG image/)
  refuses(await image.clone().gif().toBuffer(), 'wrong-format', /this is a GIF image/)
  refuses(await image.clone().webp().toBuffer(), 'wrong-format', /this is a WebP image/)
  refuses(Buffer.from('{"imageData":"/9j/"}'), 'wrong-format', /this is not a JPEG image/)
})

test('kinds of JPEG that are not taken are refused by their name', () => {
  const sof = segment(frame, 0xc0) + 1
  refuses(patched(frame, sof, 0xc3), 'unsupported', /lossless/)
  refuses(patched(frame, sof, 0xc9), 'unsupported', /arithmetic-coded/)
  refuses(patched(frame, sof, 0xc5), 'unsupported', /hierarchical/)
  refuses(patched(frame, sof, 0xf7), 'unsupported', /JPEG-LS/)
})

test('a frame that does not tell its height is refused', () => {
  refuses(patched(frame, segment(frame, 0xc0) + 5, 0, 0), 'unsupported', /DNL/)
})

test('a frame without its tables is refused as abbreviated', () => {
  let noHuffman: Uint8Array = frame
  while (Buffer.from(noHuffman).indexOf(Buffer.from([0xff, 0xc4])) !== -1) {
    noHuffman = without(noHuffman, segment(noHuffman, 0xc4))
  }
  refuses(noHuffman, 'unsupported', /lacks a Huffman table/)
  let noQuantisation: Uint8Array = frame
  while (Buffer.from(noQuantisation).indexOf(Buffer.from([0xff, 0xdb])) !== -1) {
    noQuantisation = without(noQuantisation, segment(noQuantisation, 0xdb))
  }
  refuses(noQuantisation, 'unsupported', /lacks a quantisation table/)
})

test('two frame headers, or none, are refused', () => {
  const sof = segment(frame, 0xc0)
  const header = frame.subarray(sof, sof + 2 + Buffer.from(frame).readUInt16BE(sof + 2))
  refuses(inserted(frame, sof, ...header), 'malformed', /more than one frame/)
  refuses(without(frame, sof), 'malformed', /scan before its frame header/)
  refuses(Buffer.from([0xff, 0xd8, 0xff, 0xd9]), 'malformed', /no frame header/)
})

test('more pixels than allowed are refused before anything is decoded', () => {
  const huge = patched(frame, segment(frame, 0xc0) + 5, 0xff, 0xff, 0xff, 0xff)
  refuses(huge, 'out-of-range', new RegExp(`${limits.imagePixelsMax}`))
})

test('a segment that is shorter than its own length is refused', () => {
  refuses(patched(frame, segment(frame, 0xdb) + 2, 0, 1), 'malformed', /shorter/)
})

test('a restart marker that is not due is refused', () => {
  const data = segment(frame, 0xda) + 2 + 12
  refuses(inserted(frame, data + 40, 0xff, 0xd0), 'malformed', /not due/)
})

test('restart markers in their order are passed over', () => {
  const dri = inserted(frame, segment(frame, 0xda), 0xff, 0xdd, 0, 4, 0, 4)
  const data = segment(dri, 0xda) + 2 + 12
  const first = inserted(dri, data + 20, 0xff, 0xd0)
  const both = inserted(first, data + 40, 0xff, 0xd1)
  assert.equal(readJpegStructure(both).width, 64)
  refuses(inserted(first, data + 40, 0xff, 0xd2), 'malformed', /not due/)
})

test('a scan without data is refused', () => {
  const data = segment(frame, 0xda) + 2 + 12
  const empty = Buffer.concat([frame.subarray(0, data), Buffer.from([0xff, 0xd9])])
  refuses(empty, 'malformed', /without data/)
})

test('a frame that lacks a component is refused', () => {
  const first = segment(progressive, 0xda)
  const data = first + 2 + Buffer.from(progressive).readUInt16BE(first + 2)
  const cut = Buffer.concat([progressive.subarray(0, data + 1), Buffer.from([0xff, 0xd9])])
  assert.equal(readJpegStructure(cut).scans, 1)
  const alone = Buffer.concat([
    progressive.subarray(0, first),
    Buffer.from([0xff, 0xda, 0, 8, 1, 1, 0, 0, 0, 0, 1, 0xff, 0xd9]),
  ])
  refuses(alone, 'malformed', /lacks the data of a colour component/)
})

test('a progressive frame of endless scans is refused', () => {
  const first = segment(progressive, 0xda)
  const scan = [0xff, 0xda, 0, 8, 1, 1, 0, 0, 0, 0x10, 1]
  const scans = Array.from({ length: limits.jpegScansMax + 1 }, () => scan).flat()
  refuses(inserted(progressive, first, ...scans), 'out-of-range', /more than 100 scans/)
})

test('bytes after the end are refused', () => {
  const error = refuses(Buffer.concat([frame, frame]), 'trailing-bytes', /follow the end/)
  assert.equal(error.byteOffset, frame.length + 1)
})

test('whatever the bytes, the answer is a structure or a MediaFault', () => {
  const edit = fc.tuple(fc.nat(frame.length - 1), fc.nat(255))
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 6 }), (edits) => {
      const bytes = frame.slice()
      for (const [at, value] of edits) bytes[at] = value
      try {
        readJpegStructure(bytes)
      } catch (error) {
        assert.ok(error instanceof MediaFault, String(error))
      }
    }),
    { numRuns: 500, seed: 11 },
  )
})
