import assert from 'node:assert/strict'
import { truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import fc from 'fast-check'
import { openWavFile } from '../../../src/codecs/audio/wav-file.ts'
import { MediaFault, type MediaFaultReason } from '../../../src/codecs/media-fault.ts'
import { readWav } from '../../../src/codecs/wav.ts'
import { samplesOf } from '../../support/data.ts'
import { wavBuffer } from '../../support/media.ts'
import { temporaryFolder } from '../../support/server.ts'

async function pathOf(t: TestContext, bytes: Uint8Array): Promise<string> {
  const path = join(await temporaryFolder(t), 'audio.wav')
  await writeFile(path, bytes)
  return path
}

async function contentOf(path: string, fromSample = 0) {
  const file = await openWavFile(path)
  const parts: Uint8Array[] = []
  for await (const part of file.read(fromSample)) parts.push(Buffer.from(part))
  await file.close()
  const { format, samples, missing } = file
  return { format, samples, missing, parts, pcm: Buffer.concat(parts) }
}

async function refused(path: string, reason: MediaFaultReason, message: RegExp): Promise<void> {
  await assert.rejects(openWavFile(path), (error) => {
    assert.ok(error instanceof MediaFault, String(error))
    assert.equal(error.reason, reason, error.message)
    assert.match(error.message, message)
    return true
  })
}

test('a WAV file is read in whole samples of all channels, from any sample on', async (t) => {
  const wav = wavBuffer({ bitDepth: '24', channels: 5, sampleRate: 48_000, durationMs: 1_000 })
  const path = await pathOf(t, wav)
  const { format, samples, missing, parts, pcm } = await contentOf(path)
  assert.deepEqual(format, { format: 'pcm', sampleRate: 48_000, channels: 5, bitDepth: 24 })
  assert.deepEqual([samples, missing], [48_000, 0])
  assert.ok(parts.length > 2)
  assert.ok(parts.every(({ byteLength }) => byteLength % 15 === 0 && byteLength <= 262_144))
  const expected = samplesOf(Buffer.from(wav))
  assert.ok(pcm.equals(expected))
  assert.ok((await contentOf(path, 47_000)).pcm.equals(expected.subarray(47_000 * 15)))
  assert.equal((await contentOf(path, 48_000)).parts.length, 0)
})

test('a file that ends within its samples tells how many are missing', async (t) => {
  const wav = wavBuffer({ channels: 2, sampleRate: 8_000, durationMs: 100 })
  const path = await pathOf(t, wav)
  // 300 samples and a half of 4 bytes.
  await truncate(path, 44 + 1_202)
  const { samples, missing, pcm } = await contentOf(path)
  assert.deepEqual([samples, missing], [300, 500])
  assert.ok(pcm.equals(wav.subarray(44, 44 + 1_200)))
  await truncate(path, 44 + 3)
  await refused(path, 'truncated', /ends before its samples/)
  await truncate(path, 44)
  await refused(path, 'truncated', /ends before its samples/)
  await truncate(path, 40)
  await refused(path, 'malformed', /inside a chunk header/)
})

test('what is cut off behind the samples is not missed', async (t) => {
  const wav = Buffer.from(wavBuffer({ durationMs: 10 }))
  const list = Buffer.from('LIST\x40\0\0\0INFO', 'latin1')
  const whole = Buffer.concat([wav, list])
  whole.writeUInt32LE(wav.length + 8 + 0x40 - 8, 4)
  const { samples, missing } = await contentOf(await pathOf(t, whole))
  assert.deepEqual([samples, missing], [441, 0])
})

test('a length that its writer did not know is up to the end of the file', async (t) => {
  const wav = Buffer.from(wavBuffer({ durationMs: 10 }))
  wav.writeUInt32LE(0xffffffff, 4)
  wav.writeUInt32LE(0xffffffff, 40)
  const { samples, missing } = await contentOf(await pathOf(t, wav))
  assert.deepEqual([samples, missing], [441, 0])
})

test('what readWav refuses for other reasons is refused', async (t) => {
  const wav = Buffer.from(wavBuffer({ durationMs: 10 }))
  const rf64 = Buffer.concat([Buffer.from('RF64'), wav.subarray(4)])
  await refused(await pathOf(t, rf64), 'unsupported', /RF64/)
  await refused(await pathOf(t, Buffer.alloc(0)), 'empty', /empty/)
  await refused(await pathOf(t, Buffer.from('ID3\x04'.padEnd(60, '\0'))), 'wrong-format', /MP3/)
  await refused(await pathOf(t, Buffer.concat([wav, wav])), 'trailing-bytes', /follow the end/)
  const channels = Buffer.from(wav)
  channels.writeUInt16LE(65_535, 22)
  await refused(await pathOf(t, channels), 'out-of-range', /65535 channels/)
  await assert.rejects(openWavFile('/nowhere/audio.wav'), { code: 'ENOENT' })
})

test('a file of nothing but empty chunks is given up in time', async (t) => {
  const file = Buffer.alloc(12 + 8 * 200_000)
  file.write('RIFF', 0, 'latin1')
  file.writeUInt32LE(file.length - 8, 4)
  file.write('WAVE', 8, 'latin1')
  for (let at = 12; at < file.length; at += 8) file.write('JUNK', at, 'latin1')
  await refused(await pathOf(t, file), 'out-of-range', /too many chunks/)
})

test('on disk and in memory the same files are sound, whatever their header says', async (t) => {
  const wav = wavBuffer({ channels: 1, sampleRate: 8_000, durationMs: 4, bitDepth: '8' })
  const path = await pathOf(t, wav)
  const edit = fc.tuple(fc.nat(47), fc.nat(255))
  await fc.assert(
    fc.asyncProperty(fc.array(edit, { minLength: 1, maxLength: 3 }), async (edits) => {
      const bytes = wav.slice()
      for (const [at, value] of edits) bytes[at] = value
      await writeFile(path, bytes)
      const ofMemory = outcome(() => readWav(bytes).frames)
      const file = await openWavFile(path).catch((error: unknown) => error)
      if (file instanceof MediaFault) {
        assert.notEqual(typeof ofMemory, 'number')
        return
      }
      assert.ok(file !== null && typeof file === 'object' && 'samples' in file, String(file))
      const { samples, close } = file as Awaited<ReturnType<typeof openWavFile>>
      await close.call(file)
      // Only what is cut off is taken here and refused there.
      if (typeof ofMemory === 'number') assert.equal(samples, ofMemory)
      else assert.match(ofMemory, /claims \d+ bytes|inside a chunk header/)
    }),
    { numRuns: 300, seed: 3 },
  )
})

function outcome(read: () => number): number | string {
  try {
    return read()
  } catch (error) {
    assert.ok(error instanceof MediaFault, String(error))
    return error.message
  }
}

test('lengths that writers to a pipe leave behind mean up to the end of the file', async (t) => {
  const wav = Buffer.from(wavBuffer({ channels: 1, sampleRate: 8_000, durationMs: 100 }))
  // ffmpeg, sox, arecord, and those that never come back to their header.
  const pairs: [number, number][] = [
    [0xffffffff, 0xffffffff],
    [0x7ffff024, 0x7ffff000],
    [0x80000024, 0x80000000],
    [0, 0],
    [36, 0],
  ]
  for (const [riff, data] of pairs) {
    wav.writeUInt32LE(riff, 4)
    wav.writeUInt32LE(data, 40)
    const { samples, missing, pcm } = await contentOf(await pathOf(t, wav))
    assert.deepEqual([samples, missing], [800, 0], `${riff} and ${data}`)
    assert.ok(pcm.equals(wav.subarray(44)))
  }
})

test('a tag behind the end of the file is no part of it', async (t) => {
  const wav = Buffer.from(wavBuffer({ channels: 1, sampleRate: 8_000, durationMs: 100 }))
  const tagged = Buffer.concat([wav, Buffer.from('TAG'), Buffer.alloc(125)])
  const { samples, missing } = await contentOf(await pathOf(t, tagged))
  assert.deepEqual([samples, missing], [800, 0])
})
