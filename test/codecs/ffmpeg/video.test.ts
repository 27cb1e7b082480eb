import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import type { MediaSource } from '../../../src/codecs/ffmpeg/source.ts'
import {
  type ExtractedFrame,
  extractFrames,
  probeVideo,
  qscaleOf,
} from '../../../src/codecs/ffmpeg/video.ts'
import { readJpegStructure } from '../../../src/codecs/jpeg.ts'
import { type FrameSettings, MediaError } from '../../../src/contracts/media.ts'
import {
  clip,
  drain,
  ffmpegs,
  fileOf,
  flipped,
  isRealClip,
  type MediaFileName,
  mediaFile,
  patient,
  pixelBomb,
  sceneCuts,
  truncated,
} from '../../support/media-files.ts'

const plain: FrameSettings = {
  mode: 'all-frames',
  frameRateFps: null,
  resolution: null,
  compressionQuality: null,
  interval: 30,
  sceneThreshold: 0.3,
}

interface Taken {
  readonly items: ExtractedFrame[]
  readonly error: unknown
}

async function take(
  source: MediaSource,
  settings: Partial<FrameSettings>,
  skip = 0,
): Promise<Taken> {
  const info = await probeVideo(source, patient())
  const options = { ...patient(), skip, onPosition: () => {} }
  return drain(extractFrames(source, info, { ...plain, ...settings }, options))
}

function digests({ items }: Taken): string[] {
  return items.map(({ bytes }) => createHash('sha256').update(bytes).digest('hex'))
}

function mediaError(error: unknown, code: MediaError['code']): MediaError {
  assert.ok(error instanceof MediaError, String(error))
  assert.equal(error.code, code, `${error.message}: ${error.details}`)
  return error
}

for (const ffmpeg of await ffmpegs()) {
  test(`keyframes, all frames and every 30th of the clip, by ${ffmpeg.version}`, async (t) => {
    t.diagnostic(isRealClip ? 'real clip' : 'generated clip')
    const source = { ...(await clip()), ffmpeg }
    const info = await probeVideo(source, patient())
    assert.equal(info.frames, 1_189)
    assert.equal(info.keyframes, 5)
    assert.deepEqual([info.codec, info.width, info.height], ['h264', 640, 360])
    const keyframes = await take(source, { mode: 'keyframes' })
    assert.equal(keyframes.error, null)
    assert.deepEqual(
      keyframes.items.map(({ sourceFrame }) => sourceFrame),
      [0, 250, 500, 750, 1_000],
    )
    assert.deepEqual(
      keyframes.items.map(({ ptsMs }) => (ptsMs / 1_000).toFixed(2)),
      ['0.00', '8.38', '16.76', '25.14', '33.52'],
    )
    const all = await take(source, { resolution: { width: 160, height: 160 } })
    assert.equal(all.error, null)
    assert.deepEqual(
      all.items.map(({ sourceFrame }) => sourceFrame),
      Array.from({ length: 1_189 }, (_, index) => index),
    )
    const interval = await take(source, { mode: 'interval' })
    assert.equal(interval.items.length, 40)
    assert.ok(interval.items.every(({ sourceFrame }, index) => sourceFrame === 30 * index))
    for (const { bytes, width, height } of interval.items) {
      const structure = readJpegStructure(bytes)
      assert.deepEqual([structure.width, structure.height], [width, height])
    }
  })

  test(`six scenes have five changes, at the cuts, by ${ffmpeg.version}`, async () => {
    const source = { ...(await mediaFile('six-scenes.mp4')), ffmpeg }
    const { items, error } = await take(source, { mode: 'scene-changes', sceneThreshold: 0.2 })
    assert.equal(error, null)
    assert.deepEqual(
      items.map(({ sourceFrame }) => sourceFrame),
      sceneCuts,
    )
    assert.ok(items.every(({ score }) => score !== null && score > 0.2 && score <= 1))
  })

  const containers: MediaFileName[] = [
    ...(['moov-first.mp4', 'moov-last.mp4', 'clip.mov', 'clip.mkv', 'clip.ts'] as const),
    ...(['vp8.webm', 'mpeg4.avi', 'mpeg4.mp4', 'images.mjpeg', 'images.avi'] as const),
  ]
  for (const name of containers) {
    test(`${name} gives each mode's frames, resumed or not, by ${ffmpeg.version}`, async () => {
      const source = { ...(await mediaFile(name)), ffmpeg }
      const info = await probeVideo(source, patient())
      assert.equal(info.fault, null)
      for (const mode of ['all-frames', 'keyframes', 'interval'] as const) {
        const settings = { mode, interval: 7, resolution: { width: 320, height: 320 } }
        const whole = await take(source, settings)
        assert.equal(whole.error, null)
        const expected = { 'all-frames': info.frames, keyframes: info.keyframes }
        const count = mode === 'interval' ? Math.ceil(info.frames / 7) : expected[mode]
        assert.equal(whole.items.length, count, mode)
        const skip = Math.floor(count / 2)
        const resumed = await take(source, settings, skip)
        assert.equal(resumed.error, null)
        assert.deepEqual(digests(resumed), digests(whole).slice(skip), mode)
        const places = ({ items }: Taken) => items.map(({ bytes: _, ...place }) => place)
        assert.deepEqual(places(resumed), places(whole).slice(skip), mode)
        const done = await take(source, settings, count)
        assert.deepEqual(done, { items: [], error: null })
      }
    })
  }

  for (const name of ['moov-first.mp4', 'clip.mkv', 'clip.ts', 'mpeg4.mp4', 'mpeg4.avi'] as const) {
    test(`flipped bits in ${name} end at the same good frame twice, by ${ffmpeg.version}`, async () => {
      const sound = await take({ ...(await mediaFile(name)), ffmpeg }, {})
      const damaged = { ...(await flipped(name, 7)), ffmpeg }
      const first = await take(damaged, {})
      const error = mediaError(first.error, 'ATOMIZATION_ERROR')
      assert.match(error.message, /^Failed to parse video frame \d+$/)
      assert.equal(error.position, first.items.length)
      assert.equal(error.message, `Failed to parse video frame ${first.items.length + 1}`)
      assert.ok(first.items.length > 0 && first.items.length < sound.items.length)
      const second = await take(damaged, {})
      assert.deepEqual(digests(second), digests(first))
      assert.deepEqual(second.error, first.error)
    })
  }

  for (const name of [
    'moov-first.mp4',
    'clip.mkv',
    'clip.ts',
    'images.mjpeg',
    'images.avi',
  ] as const) {
    test(`${name} cut off gives what came before, then its error, by ${ffmpeg.version}`, async () => {
      const sound = await take({ ...(await mediaFile(name)), ffmpeg }, {})
      const cut = { ...(await truncated(name, 0.6)), ffmpeg }
      const { items, error } = await take(cut, {})
      const { position } = mediaError(error, 'ATOMIZATION_ERROR')
      assert.equal(position, items.length)
      assert.ok(items.length > 10 && items.length < sound.items.length)
      assert.deepEqual(digests({ items, error }), digests(sound).slice(0, items.length))
    })
  }

  test(`a bad keyframe is named and no later one is given, by ${ffmpeg.version}`, async () => {
    const damaged = { ...(await flipped('moov-first.mp4', 7)), ffmpeg }
    const info = await probeVideo(damaged, patient())
    const numbers = (
      await take({ ...(await mediaFile('moov-first.mp4')), ffmpeg }, { mode: 'keyframes' })
    ).items.map(({ sourceFrame }) => sourceFrame)
    const { items, error } = await take(damaged, { mode: 'keyframes' })
    assert.equal(info.keyframes, numbers.length)
    if (error === null) assert.equal(items.length, numbers.length)
    else assert.equal(mediaError(error, 'ATOMIZATION_ERROR').position, numbers[items.length])
  })

  test(`an MP4 without its index, bombs and other files are refused, by ${ffmpeg.version}`, async () => {
    const cut = { ...(await truncated('moov-last.mp4', 0.6)), ffmpeg }
    await assert.rejects(probeVideo(cut, patient()), {
      code: 'MEDIA_NOT_RECOGNISED',
      message: 'The file has no index (moov): it is cut off or no MP4',
    })
    const bomb = { ...(await pixelBomb()), ffmpeg }
    await assert.rejects(probeVideo(bomb, patient()), { code: 'MEDIA_LIMIT_EXCEEDED' })
    const audio = { ...(await mediaFile('speech.m4a')), ffmpeg }
    await assert.rejects(probeVideo(audio, patient()), { code: 'MEDIA_NOT_RECOGNISED' })
    const other = { ...(await mediaFile('clip.mkv')), container: 'mov' as const, ffmpeg }
    await assert.rejects(probeVideo(other, patient()), { code: 'MEDIA_NOT_RECOGNISED' })
  })
}

test('a text that names other files is refused as every kind of video', async () => {
  const texts = [
    '#EXTM3U\n#EXTINF:1,\n/etc/passwd\n',
    "ffconcat version 1.0\nfile '/etc/passwd'\n",
    '',
  ]
  for (const container of ['mov', 'matroska', 'mpegts', 'mjpeg', 'avi'] as const) {
    for (const text of texts) {
      const source = await fileOf('list.bin', text, container)
      await assert.rejects(probeVideo(source, patient()), { code: 'MEDIA_NOT_RECOGNISED' })
    }
  }
})

test('a frame rate leaves the first frame of each slot, and the mode counts those', async () => {
  const source = await clip()
  const info = await probeVideo(source, patient())
  const all = (await take(source, { resolution: { width: 64, height: 64 } })).items
  let slot = -1
  const expected = all.filter(({ ptsMs }) => {
    const next = Math.floor((ptsMs / 1_000) * 10 + 0.05)
    const isNew = next > slot
    slot = Math.max(slot, next)
    return isNew
  })
  const thinned = await take(source, { frameRateFps: 10 })
  const numbers = ({ items }: { items: readonly ExtractedFrame[] }) =>
    items.map(({ sourceFrame }) => sourceFrame)
  assert.deepEqual(numbers(thinned), numbers({ items: expected }))
  const third = await take(source, { frameRateFps: 10, mode: 'interval', interval: 3 })
  assert.deepEqual(
    numbers(third),
    numbers(thinned).filter((_, index) => index % 3 === 0),
  )
  const keys = await take(source, { frameRateFps: 10, mode: 'keyframes' })
  const kept = new Set(numbers(thinned))
  const allKeys = [0, 250, 500, 750, 1_000]
  assert.deepEqual(
    numbers(keys),
    allKeys.filter((number) => kept.has(number)),
  )
  assert.ok(info.frames > thinned.items.length)
})

test('a frame is shrunk to fit inside, never enlarged, and worse quality is smaller', async () => {
  const source = await mediaFile('moov-first.mp4')
  const small = await take(source, { mode: 'keyframes', resolution: { width: 300, height: 300 } })
  assert.deepEqual([small.items[0]?.width, small.items[0]?.height], [300, 169])
  const large = await take(source, {
    mode: 'keyframes',
    resolution: { width: 9_000, height: 9_000 },
  })
  assert.deepEqual([large.items[0]?.width, large.items[0]?.height], [640, 360])
  const poor = await take(source, { mode: 'keyframes', compressionQuality: 10 })
  assert.ok((poor.items[0]?.bytes.length ?? 0) < (large.items[0]?.bytes.length ?? 0) * 0.8)
  assert.deepEqual([qscaleOf(1), qscaleOf(null), qscaleOf(100)], [31, 6, 2])
})
