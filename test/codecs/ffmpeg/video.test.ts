import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { FrameIndex } from '../../../src/codecs/ffmpeg/frame-index.ts'
import type { MediaSource } from '../../../src/codecs/ffmpeg/source.ts'
import {
  type ExtractedFrame,
  extractFrames,
  probeVideo,
  qscaleOf,
  type VideoInfo,
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
  joined,
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
  return takeBy(source, await probeVideo(source, patient()), settings, skip)
}

function takeBy(
  source: MediaSource,
  info: VideoInfo,
  settings: Partial<FrameSettings>,
  skip = 0,
): Promise<Taken> {
  const options = { ...patient(), skip, onPosition: () => {} }
  return drain(extractFrames(source, info, { ...plain, ...settings }, options))
}

function digests({ items }: Taken): string[] {
  return items.map(({ bytes }) => createHash('sha256').update(bytes).digest('hex'))
}

function places({ items }: Taken): Omit<ExtractedFrame, 'bytes'>[] {
  return items.map(({ bytes: _, ...place }) => place)
}

/** The index of a video whose container told every frame's number and time, and these to be keyframes. */
function indexOf(frames: number, tick: number, firstPts: number, keys: readonly number[]) {
  const index = new FrameIndex()
  const isKeyframe = new Set(keys)
  for (let frame = 0; frame < frames; frame += 1) {
    const pts = firstPts + tick * frame
    const isKey = isKeyframe.has(frame)
    index.add({ pts, dts: pts, isPtsAssumed: false, isKey, isCorrupt: false })
  }
  index.settle()
  return index
}

/** Of a file with a constant frame rate. */
function ticksOf({ index }: VideoInfo): number {
  return (index.lastPts - index.firstPts) / (index.frames - 1)
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
    ...(['open.mp4', 'open.mkv', 'open.ts', 'b-frames.avi'] as const),
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
        assert.deepEqual(places(resumed), places(whole).slice(skip), mode)
        const done = await take(source, settings, count)
        assert.deepEqual(done, { items: [], error: null })
      }
    })
  }

  for (const name of ['open.mp4', 'open.mkv', 'open.ts', 'b-frames.avi', 'clip.ts'] as const) {
    test(`keyframes of ${name} are those of all its frames, by ${ffmpeg.version}`, async () => {
      const source = { ...(await mediaFile(name)), ffmpeg }
      await assertKeyframes(source, name.endsWith('avi') ? 12 : name === 'clip.ts' ? 60 : 30)
    })
  }

  test(`two joined recordings give the keyframes of both, by ${ffmpeg.version}`, async () => {
    const one = await take({ ...(await mediaFile('clip.ts')), ffmpeg }, { mode: 'keyframes' })
    const source = { ...(await joined('clip.ts')), ffmpeg }
    const both = await take(source, { mode: 'keyframes' })
    assert.equal(both.error, null)
    assert.deepEqual(digests(both), [...digests(one), ...digests(one)])
    const all = digests(await take(source, {}))
    assert.deepEqual(
      digests(both),
      both.items.map(({ sourceFrame }) => all[sourceFrame] ?? ''),
    )
    const thinned = await take(source, { mode: 'keyframes', frameRateFps: 0.2 })
    const { length } = thinned.items
    assert.ok(length > 1 && length < both.items.length)
    const resumed = await take(source, { mode: 'keyframes', frameRateFps: 0.2 }, length - 1)
    assert.deepEqual(places(resumed), places(thinned).slice(-1))
  })

  test(`keyframes that do not come alone are found among all, by ${ffmpeg.version}`, async () => {
    const source = { ...(await mediaFile('open.mp4')), ffmpeg }
    const sound = await probeVideo(source, patient())
    const keys = places(await take(source, { mode: 'keyframes' })).map((item) => item.sourceFrame)
    const index = indexOf(sound.frames, ticksOf(sound), sound.index.firstPts, keys)
    assert.deepEqual(
      [sound.index.isDecodableByKeyframes, index.isDecodableByKeyframes],
      [false, true],
    )
    for (const skip of [0, 2]) {
      const found = await takeBy(source, { ...sound, index }, { mode: 'keyframes' }, skip)
      assert.equal(found.error, null)
      assert.deepEqual(
        places(found).map(({ sourceFrame }) => sourceFrame),
        keys.slice(skip),
      )
    }
  })

  test(`keyframes that are missing or bear other numbers are told, by ${ffmpeg.version}`, async () => {
    const source = { ...(await mediaFile('moov-first.mp4')), ffmpeg }
    const sound = await probeVideo(source, patient())
    const keys = places(await take(source, { mode: 'keyframes' })).map((item) => item.sourceFrame)
    const { firstPts } = sound.index
    const more = indexOf(sound.frames, ticksOf(sound), firstPts, [...keys, sound.frames - 1])
    const lacking = { ...sound, index: more, keyframes: more.keyframes }
    for (const skip of [0, 1]) {
      const { items, error } = await takeBy(source, lacking, { mode: 'keyframes' }, skip)
      assert.equal(items.length, keys.length - skip)
      const { details } = mediaError(error, 'ATOMIZATION_ERROR')
      assert.equal(details, `the decoder gave ${keys.length} of ${keys.length + 1} keyframes`)
    }
    const half = ticksOf(sound) / 2
    const doubled = [...keys.map((key) => 2 * key), 2 * sound.frames - 1]
    const index = indexOf(2 * sound.frames, half, firstPts, doubled)
    const renumbered = { ...sound, index, frames: index.frames, keyframes: index.keyframes }
    const { items, error } = await takeBy(source, renumbered, { mode: 'keyframes' })
    assert.equal(items.length, keys.length)
    assert.match(mediaError(error, 'ATOMIZATION_ERROR').details, /otherwise/)
  })

  test(`keyframes of a transport stream cut off in a packet end with an error, by ${ffmpeg.version}`, async () => {
    const bytes = readFileSync((await mediaFile('clip.ts')).path)
    const torn = bytes.subarray(0, 188 * Math.floor((0.6 * bytes.length) / 188) - 100)
    const cut = { ...(await fileOf('torn.ts', torn, 'mpegts')), ffmpeg }
    const sound = await take({ ...(await mediaFile('clip.ts')), ffmpeg }, { mode: 'keyframes' })
    const { items, error } = await take(cut, { mode: 'keyframes' })
    mediaError(error, 'ATOMIZATION_ERROR')
    assert.ok(items.length > 0 && items.length < sound.items.length)
    assert.deepEqual(digests({ items, error }), digests(sound).slice(0, items.length))
  })

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

async function assertKeyframes(source: MediaSource, distance: number): Promise<void> {
  const all = await take(source, {})
  const keyframes = await take(source, { mode: 'keyframes' })
  assert.deepEqual([all.error, keyframes.error], [null, null])
  const numbers = keyframes.items.map(({ sourceFrame }) => sourceFrame)
  const count = Math.ceil(all.items.length / distance)
  assert.deepEqual(
    numbers,
    Array.from({ length: count }, (_, at) => at * distance),
  )
  const sameFrames = numbers.map((number) => all.items[number] as ExtractedFrame)
  assert.deepEqual(digests(keyframes), digests({ items: sameFrames, error: null }))
  const timesOf = (items: readonly ExtractedFrame[]) => items.map(({ ptsMs }) => ptsMs)
  assert.deepEqual(timesOf(keyframes.items), timesOf(sameFrames))
}

test('a picture that is shown long at the end of a Matroska file does not cut it off', async () => {
  const bytes = readFileSync((await mediaFile('clip.mkv')).path)
  // Duration, an element of eight bytes, in milliseconds.
  const at = bytes.indexOf(Buffer.from([0x44, 0x89, 0x88]))
  assert.ok(at > 0)
  bytes.writeDoubleBE(600_000, at + 3)
  const { items, error } = await take(await fileOf('long.mkv', bytes, 'matroska'), {
    mode: 'keyframes',
  })
  assert.equal(error, null)
  assert.ok(items.length > 2)
})

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
