import type { Framing } from './exchange.ts'

/**
 * How a request's body is delimited; `lengths` is how often a Content-Length stood in its head.
 */
export function framing(headers: ReadonlyMap<string, string>, lengths: number): Framing {
  const coding = headers.get('transfer-encoding')
  if (coding !== undefined) {
    return lengths === 0 && coding.trim().toLowerCase() === 'chunked' ? 'chunked' : 'conflict'
  }
  if (lengths === 0) return 'empty'
  const text = headers.get('content-length') ?? ''
  if (lengths > 1 || !/^\d{1,15}$/.test(text)) return 'conflict'
  return Number(text) === 0 ? 'empty' : 'length'
}
