import { close, fstatSync, openSync, read, writeSync } from 'node:fs'
import { limits } from '../limits.ts'

const { readyStepBytes, readySliceBytes } = limits

/**
 * Pages of memory that the kernel has ready for the part of a file that comes next. To find one for each
 * 4 KiB is most of what a large write takes, 45 of 60 ms for 20 MB on a virtual machine, and it is on the
 * way of a commit. So while one is under way other threads read what the next will write: the file is
 * made longer by a hole, which takes no room on the disk and which reading fills with pages of zeros.
 */
export class ReadyPages {
  readonly #descriptor: number
  #readyTo = 0
  #work: Promise<void> | null = null
  /** Closed, or given up. */
  #isOver = false

  constructor(file: string) {
    this.#descriptor = openSync(file, 'r+')
  }

  /**
   * Makes the `bytes` ready that follow `end`, where the file is in use up to there. This process must not
   * be writing it. To make it longer one byte is written behind them: that cannot make it shorter, and
   * needs no lock, which somebody may hold for long; what another process writes meanwhile are keys.
   */
  prepare(end: number, bytes: number): void {
    if (this.#work !== null || this.#isOver) return
    this.#readyTo = Math.max(this.#readyTo, end)
    if (this.#readyTo >= end + bytes / 2) return
    const to = end + bytes
    try {
      if (fstatSync(this.#descriptor).size < to) this.#lengthen(to)
    } catch {
      // A bound on the length of files, say. Whether it is one for LMDB too, its writes will tell.
      this.#isOver = true
      return
    }
    this.#work = this.#readTo(to).finally(() => {
      this.#work = null
    })
  }

  async close(): Promise<void> {
    this.#isOver = true
    await this.#work
    await new Promise((resolve) => close(this.#descriptor, resolve))
  }

  #lengthen(to: number): void {
    const length = Math.ceil(to / readyStepBytes) * readyStepBytes
    writeSync(this.#descriptor, Uint8Array.of(0), 0, 1, length - 1)
  }

  /** Never rejects: where it cannot be read, the write will say why or be slow. */
  async #readTo(to: number): Promise<void> {
    const from = this.#readyTo
    this.#readyTo = to
    const middle = from + Math.ceil((to - from) / 2 / readySliceBytes) * readySliceBytes
    // Two threads: one finds pages for 350 MB a second here, and the writes that follow it are as fast.
    await Promise.all([this.#read(from, Math.min(middle, to)), this.#read(middle, to)])
  }

  async #read(from: number, to: number): Promise<void> {
    const slice = Buffer.allocUnsafeSlow(readySliceBytes)
    let at = from
    while (at < to && !this.#isOver) {
      const bytes = await this.#readSlice(slice, Math.min(slice.length, to - at), at)
      if (bytes === 0) return
      at += bytes
    }
  }

  #readSlice(slice: Buffer, bytes: number, at: number): Promise<number> {
    return new Promise((resolve) => {
      read(this.#descriptor, slice, 0, bytes, at, (error, done) =>
        resolve(error === null ? done : 0),
      )
    })
  }
}
