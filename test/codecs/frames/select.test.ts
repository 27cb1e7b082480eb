import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { test } from 'node:test'
import fc from 'fast-check'
import sharp from 'sharp'
import { select } from '../../../src/codecs/frames/select.ts'
import {
  type FrameMode,
  type FrameSettings,
  selectNeedsBytes,
} from '../../../src/contracts/media.ts'
import type { SelectTask } from '../../../src/contracts/tasks.ts'
import { jpegFrame } from '../../support/media.ts'

const defaults: FrameSettings = {
  mode: 'all-frames',
  frameRateFps: null,
  resolution: null,
  compressionQuality: null,
  interval: 3,
  sceneThreshold: 0.3,
}

type Frames = SelectTask['frames']

async function plain(background: string, count: number): Promise<Uint8Array[]> {
  const image = sharp({ create: { width: 96, height: 64, channels: 3, background } })
  const bytes = new Uint8Array(await image.jpeg().toBuffer())
  return Array.from({ length: count }, () => bytes)
}

function timed(images: readonly Uint8Array[], intervalMs = 40): Frames {
  return images.map((bytes, index) => ({ bytes, atMs: 1_737_369_000_000 + index * intervalMs }))
}

/** Selects in groups of these sizes, each going on from the one before. */
async function inGroups(settings: FrameSettings, frames: Frames, sizes: readonly number[]) {
  const found: unknown[] = []
  let state: Uint8Array | null = null
  for (let from = 0, turn = 0; from < frames.length; turn += 1) {
    const count = sizes[turn % sizes.length] ?? 1
    const group = frames.slice(from, from + count)
    const result = await select({ kind: 'select', settings, state, frames: group })
    state = result.state
    for (const { index, encoded, metadata } of result.selected) {
      const bytes =
        encoded === null
          ? null
          : new Uint8Array(result.buffer, encoded.byteOffset, encoded.byteLength)
      if (bytes !== null && encoded !== null) {
        const digest = createHash('sha256').update(bytes).digest()
        assert.deepEqual(Buffer.from(encoded.hash), digest)
      }
      found.push({ frame: from + index, metadata, bytes, size: [encoded?.width, encoded?.height] })
    }
    from += count
  }
  return { found, state }
}

async function framesTaken(settings: FrameSettings, frames: Frames): Promise<number[]> {
  const { found } = await inGroups(settings, frames, [frames.length])
  return found.map((entry) => (entry as { frame: number }).frame)
}

test('what is selected does not depend on how frames are grouped into tasks', async () => {
  const images = [
    ...(await plain('#c02020', 4)),
    ...(await Promise.all([1, 2, 3].map((seed) => jpegFrame({ width: 120, height: 80, seed })))),
    ...(await plain('#2020c0', 5)),
    ...(await plain('#20c020', 3)),
  ]
  const frames = timed(images, 33)
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom<FrameMode>('all-frames', 'keyframes', 'interval', 'scene-changes'),
      fc.option(fc.constantFrom(3, 12.5, 30, 100), { nil: null }),
      fc.boolean(),
      fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 1, maxLength: 5 }),
      async (mode, frameRateFps, isShrunk, sizes) => {
        const resolution = isShrunk ? { width: 100, height: 40 } : null
        const settings = { ...defaults, mode, frameRateFps, resolution }
        const whole = await inGroups(settings, frames, [frames.length])
        assert.deepEqual(await inGroups(settings, frames, sizes), whole)
      },
    ),
    { numRuns: 60, seed: 4 },
  )
})

test('a scene begins where the picture changes, not where it goes on', async () => {
  const images = [
    ...(await plain('#ffffff', 3)),
    ...(await plain('#000000', 3)),
    ...(await plain('#ff0000', 3)),
  ]
  const settings: FrameSettings = { ...defaults, mode: 'scene-changes' }
  assert.deepEqual(await framesTaken(settings, timed(images)), [3, 6])
  assert.deepEqual(await framesTaken({ ...settings, sceneThreshold: 1 }, timed(images)), [])
  const { found } = await inGroups(settings, timed(images), [2])
  const [first] = found as { metadata: { score: number; threshold: number } }[]
  // White to black: the mean difference is 255, far above the hundred that a score of 1 is.
  assert.deepEqual(first?.metadata, {
    mode: 'scene-changes',
    sourceFrame: 3,
    score: 1,
    threshold: 0.3,
  })
})

test('a frame whose pixels cannot be decoded stays as it was pushed, and begins no scene', async () => {
  const sound = await jpegFrame({ width: 96, height: 64, seed: 1 })
  const broken = Uint8Array.from(sound)
  // Amid the entropy-coded data: the markers stay sound.
  broken.fill(0x55, sound.length - 400, sound.length - 200)
  const frames = timed([sound, broken, sound])
  const shrunk = { ...defaults, resolution: { width: 48, height: 48 } }
  const { found } = await inGroups(shrunk, frames, [3])
  const kept = found[1] as { bytes: unknown; metadata: Record<string, unknown> }
  assert.equal(found.length, 3)
  assert.equal(kept.bytes, null)
  assert.match(String(kept.metadata.decodeError), /cannot be decoded/)
  const scenes = { ...defaults, mode: 'scene-changes', sceneThreshold: 0 } as const
  assert.deepEqual(await framesTaken(scenes, frames), [])
})

test('scenes are told apart also where the frames differ in size and colours', async () => {
  const [light = new Uint8Array(), dark = new Uint8Array()] = await Promise.all(
    ['#ffffff', '#101010'].map(async (colour) => (await plain(colour, 1))[0]),
  )
  const grey = new Uint8Array(
    await sharp(light).resize(40, 50).toColourspace('b-w').jpeg().toBuffer(),
  )
  const cmyk = new Uint8Array(await sharp(light).toColourspace('cmyk').jpeg().toBuffer())
  const settings: FrameSettings = { ...defaults, mode: 'scene-changes' }
  assert.deepEqual(await framesTaken(settings, timed([light, grey, cmyk, dark])), [3])
})

test('a frame that is shrunk stands as its Exif orientation says, and is never enlarged', async () => {
  const bytes = await jpegFrame({ width: 160, height: 80 })
  const lying = new Uint8Array(
    await sharp(bytes).withMetadata({ orientation: 6 }).jpeg().toBuffer(),
  )
  for (const [resolution, size] of [
    [{ width: 100, height: 100 }, [50, 100]],
    [{ width: 100, height: 400 }, [80, 160]],
  ] as const) {
    const { found } = await inGroups({ ...defaults, resolution }, timed([lying]), [1])
    const [shrunk] = found as { bytes: Uint8Array; size: number[] }[]
    assert.deepEqual(shrunk?.size, size)
    const { width, height, orientation } = await sharp(shrunk?.bytes).metadata()
    assert.deepEqual([width, height, orientation], [...size, undefined])
  }
})

test('a frame rate looks at the first frame of each slot, and the interval counts those', async () => {
  const frames = timed(await plain('#c02020', 30))
  const settings: FrameSettings = { ...defaults, mode: 'interval', frameRateFps: 10, interval: 4 }
  // At 25 frames a second, slots of 100 ms begin with the frames 0, 3, 5, 8, 10, 13, 15, 18, 20, …
  assert.deepEqual(await framesTaken(settings, frames), [0, 10, 20])
  const late = frames.map(({ bytes, atMs }, index) => ({ bytes, atMs: atMs - (index % 2) * 60 }))
  const all = { ...settings, interval: 1 }
  // A frame whose time lies before the one that was looked at last is in no new slot.
  assert.deepEqual(await framesTaken(all, late), [0, 4, 6, 8, 10, 14, 16, 18, 20, 24, 26, 28])
})

test('frames are asked for only where pictures are needed', () => {
  assert.equal(selectNeedsBytes(defaults), false)
  assert.equal(selectNeedsBytes({ ...defaults, mode: 'interval' }), false)
  assert.equal(selectNeedsBytes({ ...defaults, mode: 'scene-changes' }), true)
  assert.equal(selectNeedsBytes({ ...defaults, compressionQuality: 50 }), true)
  assert.equal(selectNeedsBytes({ ...defaults, resolution: { width: 16, height: 16 } }), true)
})
