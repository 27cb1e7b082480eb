import { invalidParameter } from '../../contracts/errors.ts'
import { limits } from '../../limits.ts'

const unitMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const daysMax = limits.downsampleMsMax / unitMs.d

/**
 * The length of the intervals that a query asks for, in milliseconds; null where it asks for records. The
 * reply has all intervals, so that there are no pages of them. Throws Refusal `INVALID_PARAMETER`.
 */
export function downsampleInterval(query: {
  readonly downsample?: string
  readonly limit?: number
  readonly cursor?: string
}): number | null {
  const { downsample } = query
  if (downsample === undefined) return null
  for (const name of ['limit', 'cursor'] as const) {
    if (query[name] === undefined) continue
    throw invalidParameter(name, 'not to be given with downsample, whose reply has all intervals')
  }
  const [, digits = '', unit = ''] = /^([1-9]\d{0,14})(ms|s|m|h|d)$/.exec(downsample) ?? []
  const intervalMs = Number(digits) * unitMs[unit as keyof typeof unitMs]
  if (intervalMs <= limits.downsampleMsMax) return intervalMs
  throw invalidParameter(
    'downsample',
    `a whole number with one of the units ms, s, m, h, d, such as 1m, from 1ms to ${daysMax}d`,
  )
}
