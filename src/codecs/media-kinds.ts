import type { DecodeSettings } from '../contracts/tasks.ts'
import { readJpegStructure } from './jpeg.ts'
import { readWav } from './wav.ts'

/** What the bytes of a frame or buffer turn out to be. */
export interface Inspection {
  /** The true value of each of the kind's `sizes`. */
  readonly sizes: Readonly<Record<string, number>>
  /** Metadata that the bytes tell and the client does not. */
  readonly derived: Readonly<Record<string, string | number>>
}

/** One of the two documented shapes of pushed media: the names of its members and its codec. */
export interface MediaKind {
  /** The member of the body that holds the records. */
  readonly list: 'frames' | 'buffers'
  readonly counter: 'frameNumber' | 'bufferNumber'
  /** The member that holds the bytes. */
  readonly bytes: 'imageData' | 'audioData'
  readonly format: 'jpeg' | 'wav'
  /** The format's name as messages give it. */
  readonly title: 'JPEG' | 'WAV'
  /** Members that must equal what the bytes say. */
  readonly sizes: readonly string[]
  /** All members, each required. */
  readonly members: ReadonlySet<string>
  /** Member to the type that an error names. */
  readonly types: ReadonlyMap<string, string>
  /** Throws MediaFault. */
  inspect(bytes: Uint8Array, settings: DecodeSettings): Inspection | Promise<Inspection>
}

export const frameKind: MediaKind = kind({
  list: 'frames',
  counter: 'frameNumber',
  bytes: 'imageData',
  format: 'jpeg',
  title: 'JPEG',
  sizes: ['width', 'height'],
  async inspect(bytes, settings) {
    const structure = readJpegStructure(bytes)
    if (settings.verify === 'pixels') {
      // Only such sessions need libvips, so only workers that meet one load it.
      const { verifyPixels } = await import('./image.ts')
      await verifyPixels(bytes, structure)
    }
    const { width, height, encoding } = structure
    return { sizes: { width, height }, derived: { encoding } }
  },
})

export const bufferKind: MediaKind = kind({
  list: 'buffers',
  counter: 'bufferNumber',
  bytes: 'audioData',
  format: 'wav',
  title: 'WAV',
  sizes: ['sampleRate', 'channels', 'bitDepth'],
  inspect(bytes) {
    const { sampleRate, channels, bitDepth, format, frames, durationMs } = readWav(bytes)
    const sizes = { sampleRate, channels, bitDepth }
    return { sizes, derived: { encoding: format, frames, durationMs } }
  },
})

function kind(definition: Omit<MediaKind, 'members' | 'types'>): MediaKind {
  const { counter, bytes, format, sizes } = definition
  const types = new Map([
    [counter, 'integer'],
    ['timestamp', 'datetime'],
    [bytes, definition.title],
    ['format', `'${format}'`],
    ...sizes.map((size): [string, string] => [size, 'integer']),
  ])
  return { ...definition, members: new Set(types.keys()), types }
}
