import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import { type AudioInfo, decodePcm, probeAudio } from '../../../src/codecs/ffmpeg/audio.ts'
import type { MediaSource } from '../../../src/codecs/ffmpeg/source.ts'
import { MediaError } from '../../../src/contracts/media.ts'
import {
  drain,
  ffmpegs,
  fileOf,
  flipped,
  type MediaFileName,
  mediaFile,
  patient,
  truncated,
} from '../../support/media-files.ts'

interface Decoded {
  readonly info: AudioInfo
  readonly samples: number
  readonly digest: string
  readonly error: unknown
}

async function decode(source: MediaSource): Promise<Decoded> {
  const info = await probeAudio(source, patient())
  const frameBytes = (info.channels * info.bitDepth) / 8
  const { items, error } = await drain(decodePcm(source, info, patient()))
  assert.ok(items.every(({ length }) => length > 0 && length % frameBytes === 0))
  const hash = createHash('sha256')
  for (const chunk of items) hash.update(chunk)
  const bytes = items.reduce((sum, { length }) => sum + length, 0)
  return { info, samples: bytes / frameBytes, digest: hash.digest('hex'), error }
}

const files: readonly (readonly [MediaFileName, number, number, 16 | 24])[] = [
  ['speech.mp3', 16_000, 1, 16],
  ['speech.aac', 16_000, 1, 16],
  ['vorbis.ogg', 16_000, 1, 16],
  ['opus.ogg', 48_000, 1, 16],
  ['speech.flac', 16_000, 1, 16],
  ['deep.flac', 96_000, 2, 24],
  ['speech.m4a', 16_000, 1, 16],
  ['opus.webm', 48_000, 1, 16],
  ['many-channels.flac', 16_000, 8, 16],
]

for (const ffmpeg of await ffmpegs()) {
  for (const [name, sampleRate, channels, bitDepth] of files) {
    test(`${name} becomes PCM at its own rate and channels, by ${ffmpeg.version}`, async () => {
      const { info, samples, error } = await decode({ ...(await mediaFile(name)), ffmpeg })
      assert.equal(error, null)
      assert.deepEqual(
        [info.sampleRate, info.channels, info.bitDepth],
        [sampleRate, channels, bitDepth],
      )
      const seconds = name === 'many-channels.flac' ? 1 : 11
      assert.ok(Math.abs(samples / sampleRate - seconds) < 0.2, `${samples} samples`)
    })
  }

  for (const name of ['speech.flac', 'deep.flac', 'speech.mp3', 'speech.aac'] as const) {
    test(`${name} cut off ends with its sample's number, twice, by ${ffmpeg.version}`, async () => {
      const cut = { ...(await truncated(name, 0.6)), ffmpeg }
      const first = await decode(cut)
      assert.ok(first.error instanceof MediaError, String(first.error))
      assert.equal(first.error.code, 'ATOMIZATION_ERROR')
      assert.equal(first.error.message, `Failed to parse audio sample ${first.samples + 1}`)
      assert.equal(first.error.position, first.samples)
      assert.ok(first.samples > 5 * first.info.sampleRate)
      const second = await decode(cut)
      assert.deepEqual([second.digest, second.error], [first.digest, first.error])
    })
  }

  test(`a FLAC frame with a flipped bit is refused by its checksum, by ${ffmpeg.version}`, async () => {
    const { error, samples } = await decode({ ...(await flipped('speech.flac', 7)), ffmpeg })
    assert.ok(error instanceof MediaError)
    assert.equal(error.position, samples)
  })

  test(`an hour of silence in a small file is an hour of PCM, by ${ffmpeg.version}`, async () => {
    const { samples, error } = await decode({ ...(await mediaFile('hour.flac')), ffmpeg })
    assert.deepEqual([samples, error], [57_600_000, null])
  })
}

test('what is no audio of its kind is refused', async () => {
  for (const container of ['mp3', 'aac', 'ogg', 'flac', 'mov', 'matroska'] as const) {
    const list = await fileOf('list.audio', '#EXTM3U\n/etc/passwd\n', container)
    await assert.rejects(probeAudio(list, patient()), { code: 'MEDIA_NOT_RECOGNISED' })
  }
  await assert.rejects(probeAudio(await mediaFile('clip.mkv'), patient()), {
    code: 'MEDIA_NOT_RECOGNISED',
  })
})
