import sharp, { type OutputInfo, type Sharp } from 'sharp'
import { limits } from '../limits.ts'
import type { JpegStructure } from './jpeg.ts'
import { MediaFault } from './media-fault.ts'

// libvips keeps these for the whole process. A body may claim any format, so only the JPEG loader
// stays; every frame is another image, so a cache would only hold memory; the pool is the
// parallelism.
sharp.block({ operation: ['VipsForeignLoad'] })
sharp.unblock({ operation: ['VipsForeignLoadJpeg'] })
sharp.cache(false)
sharp.concurrency(1)

/**
 * Decodes every pixel of a JPEG whose structure has been read. Throws MediaFault where the
 * entropy-coded data is corrupt or incomplete, the decoder warns of anything else, or it sees
 * another size. One component of the picture is kept, as 8-bit pixels, and dropped: about 6 ms for
 * 1920×1080.
 */
export async function verifyPixels(bytes: Uint8Array, structure: JpegStructure): Promise<void> {
  const { width, height } = await decode(bytes)
  if (width !== structure.width || height !== structure.height) {
    const expected = `${structure.width}×${structure.height}`
    throw new MediaFault(
      'malformed',
      0,
      `The JPEG decodes to ${width}×${height}, its header tells ${expected}`,
    )
  }
}

/** Samples of a scene picture: red, green and blue of so many pixels square. */
const pictureSide = 64

/**
 * A frame as scenes are told apart by: 64×64 pixels of 8-bit RGB, its aspect given up. libjpeg shrinks
 * while it decodes, so that a 1920×1080 frame takes about 5 ms. Throws MediaFault as verifyPixels.
 */
export async function scenePicture(bytes: Uint8Array): Promise<Uint8Array> {
  const { data } = await decoded(bytes, (image) =>
    image
      .resize(pictureSide, pictureSide, { fit: 'fill' })
      .toColourspace('srgb')
      .removeAlpha()
      .raw()
      .toBuffer({ resolveWithObject: true }),
  )
  return Uint8Array.from(data)
}

/**
 * A frame as a JPEG that fits inside `size`, its aspect kept, or of its own size where that is null. It is
 * turned as its Exif orientation says, because that goes with the rest of its metadata. Throws
 * MediaFault as verifyPixels.
 */
export async function thumbnail(
  bytes: Uint8Array,
  size: { readonly width: number; readonly height: number } | null,
  quality: number | null,
): Promise<{ bytes: Uint8Array; width: number; height: number }> {
  const { data, info } = await decoded(bytes, (image) => {
    const upright = image.autoOrient()
    const options = { fit: 'inside', withoutEnlargement: true } as const
    const fitted = size === null ? upright : upright.resize({ ...size, ...options })
    return fitted
      .jpeg({ quality: quality ?? limits.compressionQualityDefault })
      .toBuffer({ resolveWithObject: true })
  })
  return { bytes: data, width: info.width, height: info.height }
}

async function decode(bytes: Uint8Array): Promise<OutputInfo> {
  const { info } = await decoded(bytes, (image) =>
    image.extractChannel(0).raw().toBuffer({ resolveWithObject: true }),
  )
  return info
}

async function decoded<T>(bytes: Uint8Array, use: (image: Sharp) => Promise<T>): Promise<T> {
  try {
    const image = sharp(bytes, {
      failOn: 'warning',
      limitInputPixels: limits.imagePixelsMax,
      sequentialRead: true,
    })
    return await use(image.timeout({ seconds: limits.imageDecodeTimeoutS }))
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    throw new MediaFault('malformed', 0, `The JPEG cannot be decoded: ${firstLine(message)}`)
  }
}

function firstLine(text: string): string {
  return text.trim().split('\n', 1)[0] ?? ''
}
