import { hash } from 'node:crypto'
import { ownBuffer } from '../../contracts/buffers.ts'
import type { FrameSettings } from '../../contracts/media.ts'
import type { SelectedFrame, SelectResult, SelectTask } from '../../contracts/tasks.ts'
import { readJpegStructure } from '../jpeg.ts'
import { MediaFault } from '../media-fault.ts'
import { FrameSelector } from './selector.ts'

type Metadata = Record<string, string | number | null>

interface Encoded {
  readonly bytes: Uint8Array
  readonly width: number
  readonly height: number
}

/**
 * Chooses among pushed frames and shrinks or compresses those that are taken. A frame whose pixels cannot
 * be decoded (its structure was sound) begins no scene, and is taken as it was pushed where its mode
 * takes it by its number or time; `decodeError` in its metadata says so.
 */
export async function select(task: SelectTask): Promise<SelectResult> {
  const { settings } = task
  const selector = new FrameSelector(settings, task.state)
  const taken: { index: number; encoded: Encoded | null; metadata: Metadata }[] = []
  for (const [index, { bytes, atMs }] of task.frames.entries()) {
    const metadata: Metadata = { mode: settings.mode, sourceFrame: selector.nextFrame }
    if (!selector.looksAt(atMs)) continue
    if (!(await isTaken(selector, settings, bytes, metadata))) continue
    taken.push({ index, encoded: await encode(settings, bytes, metadata), metadata })
  }
  return { state: selector.save(), ...packed(taken) }
}

/** Notes in `metadata` why. */
async function isTaken(
  selector: FrameSelector,
  settings: FrameSettings,
  bytes: Uint8Array | null,
  metadata: Metadata,
): Promise<boolean> {
  if (settings.mode !== 'scene-changes') return selector.takes()
  // Only sessions that need pictures load libvips.
  const { scenePicture } = await import('../image.ts')
  const picture = await orFault(() => scenePicture(required(bytes)))
  const score = picture instanceof MediaFault ? null : selector.score(picture)
  if (score === null || score <= settings.sceneThreshold) return false
  metadata.score = Math.round(score * 1e6) / 1e6
  metadata.threshold = settings.sceneThreshold
  return true
}

/** The frame shrunk to fit inside, or compressed anew; null where it stays as it is. */
async function encode(
  { resolution, compressionQuality }: FrameSettings,
  bytes: Uint8Array | null,
  metadata: Metadata,
): Promise<Encoded | null> {
  if (resolution === null && compressionQuality === null) return null
  const { width, height } = readJpegStructure(required(bytes))
  const isTooLarge = resolution !== null && (width > resolution.width || height > resolution.height)
  if (!isTooLarge && compressionQuality === null) return null
  const { thumbnail } = await import('../image.ts')
  const size = isTooLarge ? resolution : null
  const encoded = await orFault(() => thumbnail(required(bytes), size, compressionQuality))
  if (!(encoded instanceof MediaFault)) return encoded
  metadata.decodeError = encoded.message
  return null
}

async function orFault<T>(decode: () => Promise<T>): Promise<T | MediaFault> {
  try {
    return await decode()
  } catch (error) {
    if (error instanceof MediaFault) return error
    throw error
  }
}

function required(bytes: Uint8Array | null): Uint8Array {
  if (bytes === null)
    throw new Error('selectNeedsBytes tells when frames must come with their bytes')
  return bytes
}

/** All encoded frames in one buffer, their digests in another. */
function packed(
  taken: readonly { index: number; encoded: Encoded | null; metadata: Metadata }[],
): Pick<SelectResult, 'buffer' | 'selected'> {
  const total = taken.reduce((sum, { encoded }) => sum + (encoded?.bytes.byteLength ?? 0), 0)
  const buffer = ownBuffer(total)
  const digests = new Uint8Array(32 * taken.length)
  let byteOffset = 0
  const selected = taken.map(({ index, encoded, metadata }, position): SelectedFrame => {
    if (encoded === null) return { index, encoded: null, metadata }
    const { bytes, width, height } = encoded
    const { byteLength } = bytes
    new Uint8Array(buffer).set(bytes, byteOffset)
    const digest = digests.subarray(32 * position, 32 * (position + 1))
    digest.set(hash('sha256', bytes, 'buffer'))
    const place = { byteOffset, byteLength, hash: digest, width, height }
    byteOffset += byteLength
    return { index, encoded: place, metadata }
  })
  return { buffer, selected }
}
