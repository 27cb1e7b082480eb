import { MediaError } from '../../contracts/media.ts'
import { limits } from '../../limits.ts'

export interface Packet {
  /** In ticks of the stream's time base. */
  readonly pts: number
  readonly dts: number
  /** The container tells no time of presentation, so that of decoding stands for it. */
  readonly isPtsAssumed: boolean
  readonly isKey: boolean
  /** The container tells that its bytes are not whole. */
  readonly isCorrupt: boolean
}

/** A keyframe, and the frame that is shown before it. */
export interface Keyframe {
  /** From 0, in the order of presentation. */
  readonly sourceFrame: number
  readonly pts: number
  /** Null of the first frame. */
  readonly previousPts: number | null
}

interface Pending {
  readonly pts: number
  readonly isKey: boolean
  readonly isCorrupt: boolean
}

/**
 * Numbers the packets of a video in the order of presentation while they come in the order of decoding.
 * A packet's place is settled once the decoding time has reached its presentation time, because no later
 * packet is shown before it is decoded. Keyframes are held as numbers only: 20 bytes each.
 */
export class FrameIndex {
  #frames = 0
  #keyframes = 0
  #firstPts: number | null = null
  #lastPts: number | null = null
  /** Where the container is at fault. */
  #faultFrame: number | null = null
  #pending: Pending[] = []
  #tellsTimes = true
  #isClosed = true
  /** The latest in the order of decoding. */
  #keyPts: number | null = null
  #lastDts = Number.NEGATIVE_INFINITY
  #numbers = new Uint32Array(256)
  #times = new Float64Array(256)
  #previousTimes = new Float64Array(256)
  #held = 0

  get frames(): number {
    return this.#frames + this.#pending.length
  }

  get keyframes(): number {
    return this.#keyframes
  }

  get isAllKeyframes(): boolean {
    return this.#keyframes === this.#frames
  }

  /** Each packet has a time of presentation. AVI has none for most packets of B-frame streams. */
  get tellsTimes(): boolean {
    return this.#tellsTimes
  }

  /**
   * Whether a decoder that is given nothing but the keyframes gives each of them, and its place among
   * the packets is its number. Not where groups of pictures are open: frames that come after a keyframe
   * are shown before it, and H.264 decoders then hold keyframes back or lose them. Nor where the video
   * begins in the middle of a group, whose frames cannot be decoded, or two recordings were joined.
   */
  get isDecodableByKeyframes(): boolean {
    return this.#tellsTimes && this.#isClosed
  }

  get firstPts(): number {
    return this.#firstPts ?? 0
  }

  get lastPts(): number {
    return this.#lastPts ?? 0
  }

  get faultFrame(): number | null {
    return this.#faultFrame
  }

  add({ pts, dts, isPtsAssumed, isKey, isCorrupt }: Packet): void {
    if (isPtsAssumed) this.#tellsTimes = false
    if (isKey ? pts <= (this.#keyPts ?? Number.NEGATIVE_INFINITY) : pts <= (this.#keyPts ?? pts)) {
      this.#isClosed = false
    }
    if (isKey) this.#keyPts = pts
    // Where two recordings were joined, times begin anew: what came before was shown before.
    if (dts < this.#lastDts) {
      this.#isClosed = false
      this.settle()
    }
    this.#lastDts = dts
    let place = this.#pending.length
    while (place > 0 && (this.#pending[place - 1]?.pts ?? 0) > pts) place -= 1
    this.#pending.splice(place, 0, { pts, isKey, isCorrupt })
    const isOver = this.#pending.length > limits.mediaReorderPacketsMax
    let settled = isOver ? 1 : 0
    while (settled < this.#pending.length && (this.#pending[settled]?.pts ?? 0) <= dts) settled += 1
    for (const frame of this.#pending.splice(0, settled)) this.#number(frame)
  }

  /** The container cannot be read where the next packet should be. */
  addFault(frame = this.frames): void {
    this.#setFault(frame)
  }

  /** At the end: nothing comes any more. */
  settle(): void {
    for (const frame of this.#pending) this.#number(frame)
    this.#pending = []
    this.#lastDts = Number.NEGATIVE_INFINITY
  }

  /** The position among the keyframes. Empty where every frame is one: ask `isAllKeyframes` first. */
  keyframe(position: number): Keyframe | null {
    if (position < 0 || position >= this.#held) return null
    const previous = this.#previousTimes[position] ?? Number.NaN
    return {
      sourceFrame: this.#numbers[position] ?? 0,
      pts: this.#times[position] ?? 0,
      previousPts: Number.isNaN(previous) ? null : previous,
    }
  }

  /** The first keyframe from `from` on that has this time; -1 where none has. */
  findKeyframe(pts: number, from: number): number {
    for (let position = from; position < this.#held; position += 1) {
      if (this.#times[position] === pts) return position
    }
    return -1
  }

  keyframeTimes(): Set<number> {
    return new Set(this.#times.subarray(0, this.#held))
  }

  #setFault(frame: number): void {
    if (this.#faultFrame === null || frame < this.#faultFrame) this.#faultFrame = frame
  }

  #number({ pts, isKey, isCorrupt }: Pending): void {
    const sourceFrame = this.#frames
    this.#frames += 1
    if (isCorrupt) this.#setFault(sourceFrame)
    if (isKey) this.#hold(sourceFrame, pts)
    if (this.#held < this.#keyframes && !this.isAllKeyframes) {
      throw new MediaError(
        'MEDIA_LIMIT_EXCEEDED',
        'The video has too many keyframes',
        `more than ${limits.mediaKeyframesMax}`,
      )
    }
    this.#firstPts ??= pts
    this.#lastPts = pts
  }

  #hold(sourceFrame: number, pts: number): void {
    this.#keyframes += 1
    if (this.#held === limits.mediaKeyframesMax) return
    if (this.#held === this.#numbers.length) this.#grow()
    this.#numbers[this.#held] = sourceFrame
    this.#times[this.#held] = pts
    this.#previousTimes[this.#held] = this.#lastPts ?? Number.NaN
    this.#held += 1
  }

  #grow(): void {
    const size = this.#numbers.length * 2
    const [numbers, times, previousTimes] = [this.#numbers, this.#times, this.#previousTimes]
    this.#numbers = new Uint32Array(size)
    this.#times = new Float64Array(size)
    this.#previousTimes = new Float64Array(size)
    this.#numbers.set(numbers)
    this.#times.set(times)
    this.#previousTimes.set(previousTimes)
  }
}
