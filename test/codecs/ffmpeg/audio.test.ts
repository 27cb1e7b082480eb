import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { type AudioInfo, decodePcm, probeAudio } from '../../../src/codecs/ffmpeg/audio.ts'
import type { MediaSource } from '../../../src/codecs/ffmpeg/source.ts'
import { MediaError } from '../../../src/contracts/media.ts'
import {
  drain,
  ffmpegs,
  fileOf,
  flipped,
  joined,
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
  ['late.m4a', 16_000, 1, 16],
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

  const cutNames = [
    ...([
      'speech.flac',
      'deep.flac',
      'speech.mp3',
      'speech.aac',
      'vorbis.ogg',
      'opus.ogg',
    ] as const),
    ...(['speech.m4a', 'opus.webm'] as const),
  ]
  for (const name of cutNames) {
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

  test(`an Ogg file cut off between two pages ends with an error, by ${ffmpeg.version}`, async () => {
    const bytes = readFileSync((await mediaFile('vorbis.ogg')).path)
    const cut = await fileOf('whole-pages.ogg', bytes.subarray(0, bytes.lastIndexOf('OggS')), 'ogg')
    const { error, samples } = await decode({ ...cut, ffmpeg })
    assert.ok(error instanceof MediaError, String(error))
    assert.deepEqual([error.code, error.position], ['ATOMIZATION_ERROR', samples])
    assert.match(error.details, /before its end/)
  })

  for (const name of ['opus.ogg', 'vorbis.ogg'] as const) {
    test(`two ${name} in a chain become the PCM of both, by ${ffmpeg.version}`, async () => {
      const one = await decode({ ...(await mediaFile(name)), ffmpeg })
      const both = await decode({ ...(await joined(name)), ffmpeg })
      assert.equal(both.error, null)
      // What the encoder adds around a stream is taken off at the ends of the whole file only: 6 to 16 ms.
      assert.ok(Math.abs(both.samples - 2 * one.samples) <= both.info.sampleRate / 50)
    })
  }

  test(`audio that ends before the video is whole, and cut off is not, by ${ffmpeg.version}`, async () => {
    const { error, samples } = await decode({ ...(await mediaFile('longer-video.mp4')), ffmpeg })
    assert.equal(error, null)
    assert.ok(Math.abs(samples / 16_000 - 3) < 0.2)
    const cut = await decode({ ...(await truncated('longer-video.mp4', 0.4)), ffmpeg })
    assert.ok(cut.error instanceof MediaError, String(cut.error))
    assert.equal(cut.error.code, 'ATOMIZATION_ERROR')
    assert.ok(cut.samples > 0 && cut.samples <= samples)
  })

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
