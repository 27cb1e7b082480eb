import { randomUUID } from 'node:crypto'
import { closeSync, fdatasyncSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { BodySource } from './bodies.ts'
import type { DiskResult } from './messages.ts'
import { summariseLatency } from './statistics.ts'

export interface DiskBounds {
  readonly uploadsMax: number
  readonly measureMs: number
}

/** Two seconds: the first can be twice as fast as those that follow. */
export function diskBounds(isQuick: boolean): DiskBounds {
  return { uploadsMax: isQuick ? 2 : 200, measureMs: 2_000 }
}

/**
 * Appends uploads to a new file, one after the other, with fdatasync after each: the least that
 * any server does that has them on disk before it replies. Building the bytes is not counted. The
 * file stays until its folder goes: blocks that were just freed can be twice as fast to write as
 * new ones, which are what the server's growing file gets.
 */
export function measureDisk(
  source: BodySource,
  folder: string,
  bounds: DiskBounds,
  nextFirst: () => number,
): DiskResult {
  const file = openSync(join(folder, `plain-write-${randomUUID()}`), 'wx')
  const body = Buffer.alloc(source.bytesMax)
  const latenciesMs: number[] = []
  let bytes = 0
  let totalMs = 0
  try {
    while (latenciesMs.length < bounds.uploadsMax && totalMs < bounds.measureMs) {
      const length = source.write(body, 0, nextFirst())
      const begin = performance.now()
      for (let at = 0; at < length; ) at += writeSync(file, body, at, length - at)
      fdatasyncSync(file)
      const latencyMs = performance.now() - begin
      latenciesMs.push(latencyMs)
      totalMs += latencyMs
      bytes += length
    }
  } finally {
    closeSync(file)
  }
  return {
    recordsPerSecond: (latenciesMs.length * source.records * 1_000) / totalMs,
    bytesPerSecond: (bytes * 1_000) / totalMs,
    latency: summariseLatency(latenciesMs),
  }
}
