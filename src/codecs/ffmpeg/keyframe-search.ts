import type { Keyframe } from './frame-index.ts'
import { isFirstOfSlot } from './keyframe-plan.ts'
import type { VideoInfo } from './probe.ts'

/**
 * Which of all frames decoded are the keyframes that are taken, where the container cannot number them or
 * a decoder that is given nothing else gives other ones. The decoder tells what is a keyframe.
 */
export class KeyframeSearch {
  readonly #info: VideoInfo
  readonly #frameRateFps: number | null
  /** Numbers under which keyframes may have been given before. */
  readonly #given: readonly number[]
  /** Times of the container's keyframes; null where it does not tell times. */
  readonly #times: ReadonlySet<number> | null
  #firstPts: number | null = null
  #toSkip: number
  #found = 0
  #taken = 0
  #isRenumbered = false

  constructor(
    info: VideoInfo,
    frameRateFps: number | null,
    skip: number,
    given: readonly number[],
  ) {
    this.#info = info
    this.#frameRateFps = frameRateFps
    this.#toSkip = skip
    this.#given = given
    this.#times = info.index.tellsTimes ? info.index.keyframeTimes() : null
  }

  /** Whether this one is wanted, of those that the decoder gives for keyframes. */
  isWanted(keyframe: Keyframe): boolean {
    this.#firstPts ??= keyframe.pts
    // H.264 may begin anew at a frame that the container does not count among its keyframes.
    if (this.#times?.has(keyframe.pts) === false) return false
    this.#found += 1
    const { tickMs } = this.#info
    if (!isFirstOfSlot(keyframe, this.#frameRateFps, this.#firstPts, tickMs)) return false
    const given = this.#given[this.#taken]
    if (given !== undefined && given !== keyframe.sourceFrame) this.#isRenumbered = true
    this.#taken += 1
    if (this.#toSkip === 0) return !this.#isRenumbered
    this.#toSkip -= 1
    return false
  }

  /** Why keyframes are lacking or under wrong numbers, after the end; null where they are not. */
  get fault(): string | null {
    if (this.#isRenumbered) return 'the container numbers the keyframes otherwise than the decoder'
    const { keyframes } = this.#info
    if (this.#found >= keyframes) return null
    return `the decoder gave ${this.#found} of ${keyframes} keyframes`
  }
}
