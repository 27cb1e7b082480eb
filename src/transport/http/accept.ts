import { Refusal } from '../../contracts/errors.ts'

interface Range {
  readonly type: string
  readonly quality: number
}

/**
 * The available media type that an Accept header likes best (RFC 9110, 12.5.1), the first of those
 * it likes equally. Throws Refusal `NOT_ACCEPTABLE`.
 */
export function negotiate<T extends string>(
  accept: string | undefined,
  available: readonly [T, ...T[]],
): T {
  if (accept === undefined || accept.trim() === '') return available[0]
  const ranges = accept.split(',').map(parseRange)
  let best: T | null = null
  let bestQuality = 0
  for (const type of available) {
    const quality = qualityOf(type, ranges)
    if (quality > bestQuality) {
      best = type
      bestQuality = quality
    }
  }
  if (best === null) throw new Refusal('NOT_ACCEPTABLE', { fields: { available } })
  return best
}

function parseRange(text: string): Range {
  const [type = '', ...parameters] = text.split(';').map((part) => part.trim().toLowerCase())
  const weight = parameters.find((parameter) => parameter.startsWith('q='))
  const quality = weight === undefined ? 1 : Number(weight.slice(2))
  return { type, quality: Number.isFinite(quality) ? quality : 0 }
}

/** The most specific range that names the type decides. */
function qualityOf(type: string, ranges: readonly Range[]): number {
  for (const pattern of [type, `${type.split('/')[0]}/*`, '*/*']) {
    const range = ranges.find((candidate) => candidate.type === pattern)
    if (range !== undefined) return range.quality
  }
  return 0
}
