import sharp from 'sharp'
import wavefile from 'wavefile'

/**
 * Frames and audio buffers made from a seed: the same seed gives the same bytes, another seed
 * others, so that tests and benches upload media that are all distinct.
 */

export interface FrameOptions {
  readonly width: number
  readonly height: number
  readonly seed?: number
  /** JPEG quality, 1 to 100. */
  readonly quality?: number
  /** Strength of the noise, 0 to 255, which makes the file large: at 1920×1080 and quality 80, 15
   * gives about 200 KB. */
  readonly noise?: number
  readonly progressive?: boolean
}

/** A JPEG of colour gradients under noise. */
export async function jpegFrame(options: FrameOptions): Promise<Uint8Array> {
  const { width, height, seed = 1, quality = 80, noise = 15, progressive = false } = options
  const next = randomBytes(seed)
  const pixels = Buffer.alloc(width * height * 3)
  const [red, green, blue] = [next(), next(), next()]
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const grain = (next() * noise) >> 8
      pixels[at++] = (((x * 200) / width + red) & 127) + grain
      pixels[at++] = (((y * 200) / height + green) & 127) + grain
      pixels[at++] = ((((x + y) * 100) / (width + height) + blue) & 127) + grain
    }
  }
  const image = sharp(pixels, { raw: { width, height, channels: 3 } })
  return new Uint8Array(await image.jpeg({ quality, progressive }).toBuffer())
}

export interface WavOptions {
  readonly sampleRate?: number
  readonly channels?: number
  /** wavefile's code: '8', '16', '24', '32', '32f', '64', '8a' (A-law) or '8m' (µ-law). */
  readonly bitDepth?: string
  readonly durationMs?: number
  readonly seed?: number
}

/** A WAV file of noise; its peaks reach a quarter of full scale. */
export function wavBuffer(options: WavOptions = {}): Uint8Array {
  const { sampleRate = 44_100, channels = 2, bitDepth = '16', durationMs = 100, seed = 1 } = options
  const next = randomBytes(seed)
  const frames = Math.round((sampleRate * durationMs) / 1000)
  // wavefile's companding codecs start from 16-bit samples; unsigned 8-bit ones have their zero at
  // 128.
  const companded = bitDepth === '8a' || bitDepth === '8m'
  const isFloat = bitDepth === '32f' || bitDepth === '64'
  const bits = companded ? 16 : Number.parseInt(bitDepth, 10)
  const scale = isFloat ? 1 : 2 ** (bits - 1)
  const sample = () => {
    const value = ((next() + next() / 256 - 128) / 512) * scale
    return isFloat ? value : Math.round(value) + (bits === 8 ? 128 : 0)
  }
  const samples = Array.from({ length: channels }, () => Array.from({ length: frames }, sample))
  const file = new wavefile.WaveFile()
  file.fromScratch(channels, sampleRate, companded ? '16' : bitDepth, samples)
  if (bitDepth === '8a') file.toALaw()
  if (bitDepth === '8m') file.toMuLaw()
  return new Uint8Array(file.toBuffer())
}

/** Numbers of 0 to 255 from a linear congruential generator (Numerical Recipes' constants). */
function randomBytes(seed: number): () => number {
  let state = (Math.imul(seed, 2_654_435_761) + 1) >>> 0
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state >>> 24
  }
}
