import type { Keyframe } from './frame-index.ts'
import type { VideoInfo } from './probe.ts'

/**
 * Which keyframes are taken: all, or those that a frame rate leaves. A frame is looked at where it is the
 * first of its slot, so the frame before it, keyframe or not, tells.
 */
export class KeyframePlan {
  readonly #info: VideoInfo
  readonly #frameRateFps: number | null
  /** The first keyframe that has not been emitted before; the number of keyframes where all have. */
  readonly #first: number
  #next = 0

  constructor(info: VideoInfo, frameRateFps: number | null, skip: number) {
    this.#info = info
    this.#frameRateFps = frameRateFps
    let position = 0
    for (let left = skip; position < info.keyframes; position += 1) {
      const keyframe = info.index.keyframe(position)
      if (keyframe === null || !this.isTaken(keyframe)) continue
      if (left === 0) break
      left -= 1
    }
    this.#first = position
  }

  /** All has been emitted before. */
  get isDone(): boolean {
    return this.#first > 0 && this.#first === this.#info.keyframes
  }

  /** Earlier ones are not encoded. */
  get firstPts(): number {
    return this.#info.index.keyframe(this.#first)?.pts ?? this.#info.index.firstPts
  }

  /** The keyframe that was decoded; null where another one was due. */
  decoded(pts: number): Keyframe | null {
    const keyframe = this.#info.index.keyframe(this.#next)
    if (keyframe === null || keyframe.pts !== pts) return null
    this.#next += 1
    return keyframe
  }

  /** Numbers of those taken among the ones that have been decoded. */
  get takenNumbers(): number[] {
    const numbers: number[] = []
    for (let position = 0; position < this.#next; position += 1) {
      const keyframe = this.#info.index.keyframe(position)
      if (keyframe !== null && this.isTaken(keyframe)) numbers.push(keyframe.sourceFrame)
    }
    return numbers
  }

  /** The number of the one that is due next. */
  get nextSourceFrame(): number {
    return this.#info.index.keyframe(this.#next)?.sourceFrame ?? this.#info.frames
  }

  /** All have been decoded. */
  get isOver(): boolean {
    return this.#next >= this.#info.keyframes
  }

  /** Whether a frame of this time is no keyframe later than the next one. */
  isDue(pts: number): boolean {
    return this.#info.index.findKeyframe(pts, this.#next) <= this.#next
  }

  /** Whether a keyframe that is still to come has this time. */
  has(pts: number): boolean {
    return this.#info.index.findKeyframe(pts, this.#next) !== -1
  }

  isTaken(keyframe: Keyframe): boolean {
    const { index, tickMs } = this.#info
    return isFirstOfSlot(keyframe, this.#frameRateFps, index.firstPts, tickMs)
  }
}

/** Slots are as long as a frame at this rate. Where times go back, slots begin anew. */
export function isFirstOfSlot(
  { pts, previousPts }: Keyframe,
  frameRateFps: number | null,
  firstPts: number,
  tickMs: number,
): boolean {
  if (previousPts === null || frameRateFps === null) return true
  const slotOf = (ticks: number): number =>
    Math.floor((((ticks - firstPts) * tickMs) / 1_000) * frameRateFps + 0.05)
  return slotOf(pts) !== slotOf(previousPts)
}
