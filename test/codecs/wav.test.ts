import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { MediaFault, type MediaFaultReason } from '../../src/codecs/media-fault.ts'
import { readWav } from '../../src/codecs/wav.ts'
import { wavBuffer } from '../support/media.ts'

const wav = wavBuffer({ durationMs: 10 })

function refuses(bytes: Uint8Array, reason: MediaFaultReason, message: RegExp): void {
  try {
    readWav(bytes)
  } catch (error) {
    assert.ok(error instanceof MediaFault, String(error))
    assert.equal(error.reason, reason, error.message)
    assert.match(error.message, message)
    return
  }
  assert.fail('the bytes were accepted')
}

/** A copy of the 44-byte header file with one field of `size` bytes at `at` set. */
function patched(at: number, size: 2 | 4, value: number): Uint8Array {
  const copy = Buffer.from(wav)
  copy.writeUIntLE(value, at, size)
  return copy
}

function chunk(id: string, bytes: Uint8Array): Buffer {
  const head = Buffer.alloc(8)
  head.write(id, 'latin1')
  head.writeUInt32LE(bytes.length, 4)
  return Buffer.concat([head, bytes, Buffer.alloc(bytes.length % 2)])
}

function riff(...chunks: Uint8Array[]): Buffer {
  const body = Buffer.concat([Buffer.from('WAVE'), ...chunks])
  const file = chunk('RIFF', body)
  return file
}

const fmt = chunk('fmt ', wav.subarray(20, 36))
const samples = wav.subarray(44)

test('every documented format is read with its rate, channels, depth and frames', () => {
  const expected = [
    ['8', 'pcm', 8],
    ['16', 'pcm', 16],
    ['24', 'pcm', 24],
    ['32', 'pcm', 32],
    ['32f', 'ieee-float', 32],
    ['64', 'ieee-float', 64],
    ['8a', 'a-law', 8],
    ['8m', 'mu-law', 8],
  ] as const
  for (const [code, format, bitDepth] of expected) {
    for (const channels of [1, 2, 6]) {
      const bytes = wavBuffer({ bitDepth: code, channels, sampleRate: 48_000, durationMs: 10 })
      const wave = readWav(bytes)
      assert.deepEqual(
        [wave.format, wave.bitDepth, wave.channels, wave.sampleRate, wave.frames],
        [format, bitDepth, channels, 48_000, 480],
      )
      assert.equal(wave.durationMs, 10)
      assert.equal(wave.dataByteLength, (480 * channels * bitDepth) / 8)
    }
  }
})

test('an extensible file is read by its subformat', () => {
  const extension = Buffer.from('16001600030000000100000000001000800000aa00389b71', 'hex')
  extension.writeUInt16LE(16, 2)
  const body = Buffer.concat([wav.subarray(20, 36), extension])
  body.writeUInt16LE(0xfffe, 0)
  body.writeUInt16LE(22, 16)
  const wave = readWav(riff(chunk('fmt ', body), chunk('data', samples)))
  assert.equal(wave.format, 'pcm')
  assert.equal(wave.frames, 441)
  body[39] = 0
  refuses(riff(chunk('fmt ', body), chunk('data', samples)), 'unsupported', /subformat/)
})

test('an odd data chunk is read with its pad byte, without it, and with it uncounted', () => {
  const mono = wavBuffer({ bitDepth: '8', channels: 1, sampleRate: 8_000, durationMs: 10 })
  const head = chunk('fmt ', mono.subarray(20, 36))
  const padded = riff(head, chunk('data', mono.subarray(44, 44 + 79)))
  assert.equal(readWav(padded).frames, 79)
  assert.equal(readWav(padded.subarray(0, -1)).frames, 79)
  const uncounted = Buffer.from(padded)
  uncounted.writeUInt32LE(uncounted.readUInt32LE(4) - 1, 4)
  assert.equal(readWav(uncounted).frames, 79)
  assert.equal(readWav(uncounted.subarray(0, -1)).frames, 79)
})

test('other chunks are passed over, and what they claim of themselves is not believed', () => {
  const cue = Buffer.from('ffffffff', 'hex')
  const loops = Buffer.alloc(36, 0xff)
  const list = chunk('LIST', Buffer.concat([Buffer.from('INFO'), chunk('ISFT', Buffer.from('x'))]))
  const lists = Array.from({ length: 60 }, () => chunk('LIST', Buffer.from('adtl')))
  const file = riff(
    list,
    fmt,
    ...lists,
    chunk('cue ', cue),
    chunk('smpl', loops),
    chunk('data', samples),
    chunk('bext', Buffer.alloc(4)),
  )
  assert.equal(readWav(file).frames, 441)
})

test('an empty file and a file without samples are refused as empty', () => {
  refuses(new Uint8Array(0), 'empty', /empty/)
  refuses(riff(fmt, chunk('data', new Uint8Array(0))), 'empty', /no samples/)
})

test('a file cut at any byte is refused', () => {
  for (let length = 1; length < wav.length; length++) {
    assert.throws(() => readWav(wav.subarray(0, length)), MediaFault, `cut at ${length}`)
  }
})

test('a size of 4 GB is refused, in the container and in the data chunk', () => {
  refuses(patched(4, 4, 0xffffffff), 'truncated', /claims 4294967303 bytes/)
  refuses(patched(40, 4, 0xffffffff), 'truncated', /'data' claims 4294967295 bytes/)
})

test('channels and rates out of range are refused', () => {
  refuses(patched(22, 2, 65_535), 'out-of-range', /65535 channels/)
  refuses(patched(22, 2, 0), 'out-of-range', /0 channels/)
  const zeroRate = Buffer.from(patched(24, 4, 0))
  zeroRate.writeUInt32LE(0, 28)
  refuses(zeroRate, 'out-of-range', /0 Hz/)
  const highRate = Buffer.from(patched(24, 4, 384_000))
  highRate.writeUInt32LE(384_000 * 4, 28)
  refuses(highRate, 'out-of-range', /384000 Hz/)
})

test('a blockAlign or byteRate that lies is refused', () => {
  refuses(patched(28, 4, 1), 'malformed', /byteRate is 1, expected 176400/)
  const block = Buffer.from(patched(32, 2, 8))
  block.writeUInt32LE(44_100 * 8, 28)
  refuses(block, 'malformed', /blockAlign is 8, expected 4/)
})

test('formats and depths that are not taken are refused', () => {
  refuses(patched(20, 2, 17), 'unsupported', /format tag 17/)
  refuses(patched(34, 2, 12), 'unsupported', /12 bits of pcm/)
  refuses(patched(20, 2, 3), 'unsupported', /16 bits of ieee-float/)
})

test('data that is not a whole number of frames is refused', () => {
  refuses(riff(fmt, chunk('data', samples.subarray(0, 10))), 'malformed', /whole number/)
})

test('missing, doubled and misplaced chunks are refused', () => {
  const data = chunk('data', samples)
  refuses(riff(data), 'malformed', /data before its fmt/)
  refuses(riff(fmt), 'malformed', /no data chunk/)
  refuses(riff(chunk('JUNK', Buffer.alloc(4))), 'malformed', /no fmt chunk/)
  refuses(riff(fmt, fmt, data), 'malformed', /more than one fmt/)
  refuses(riff(fmt, data, data), 'malformed', /more than one data/)
  refuses(riff(chunk('fmt ', Buffer.alloc(14)), data), 'malformed', /wrong length/)
})

test('other containers are refused by their name', () => {
  for (const name of ['RIFX', 'RF64', 'BW64']) {
    refuses(Buffer.concat([Buffer.from(name), wav.subarray(4)]), 'unsupported', RegExp(name))
  }
  refuses(Buffer.from('OggS\0\x02'.padEnd(60, '\0')), 'wrong-format', /an Ogg file/)
  refuses(Buffer.from('ID3\x04'.padEnd(60, '\0')), 'wrong-format', /an MP3 file/)
  const avi = Buffer.concat([wav.subarray(0, 8), Buffer.from('AVI '), wav.subarray(12)])
  refuses(avi, 'wrong-format', /an AVI video/)
})

test('bytes after the end are refused', () => {
  refuses(Buffer.concat([wav, wav]), 'trailing-bytes', /follow the end/)
})

test('whatever the header says, the answer is a structure or a MediaFault', () => {
  const edit = fc.tuple(fc.nat(59), fc.nat(255))
  fc.assert(
    fc.property(fc.array(edit, { minLength: 1, maxLength: 6 }), (edits) => {
      const bytes = wav.slice()
      for (const [at, value] of edits) bytes[at] = value
      try {
        readWav(bytes)
      } catch (error) {
        assert.ok(error instanceof MediaFault, String(error))
      }
    }),
    { numRuns: 500, seed: 12 },
  )
})
