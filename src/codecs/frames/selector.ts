import assert from 'node:assert/strict'
import { pack, unpack } from 'msgpackr'
import type { FrameSettings } from '../../contracts/media.ts'

/** What is to be known of the frames of a session so far. */
interface SelectorState {
  /** Frames seen, and those of them that were looked at. */
  seen: number
  looked: number
  /** Time of the first frame, milliseconds since the epoch, and the last slot of `frameRateFps`. */
  firstAtMs: number
  slot: number
  /** The last picture that was looked at, as `scenePicture` gives it; and how far it was from its own. */
  picture: Uint8Array | null
  difference: number
}

/**
 * Which of a session's pushed frames become atoms. It sees them one by one; `save` and the constructor
 * carry what it knows from one batch to the next, on whichever thread.
 */
export class FrameSelector {
  readonly #settings: FrameSettings
  readonly #state: SelectorState

  constructor(settings: FrameSettings, saved: Uint8Array | null) {
    this.#settings = settings
    this.#state =
      saved === null
        ? { seen: 0, looked: 0, firstAtMs: 0, slot: -1, picture: null, difference: 0 }
        : (unpack(saved) as SelectorState)
  }

  /** Number of the frame that `looksAt` is asked about next, from 0. */
  get nextFrame(): number {
    return this.#state.seen
  }

  /**
   * Counts a frame; true where it is in a new slot of `frameRateFps`. Slots are counted from the first
   * frame on; a twentieth of one forgives a camera's jitter.
   */
  looksAt(atMs: number): boolean {
    const state = this.#state
    if (state.seen === 0) state.firstAtMs = atMs
    state.seen += 1
    const { frameRateFps } = this.#settings
    if (frameRateFps !== null) {
      const slot = Math.floor(((atMs - state.firstAtMs) / 1_000) * frameRateFps + 0.05)
      if (slot <= state.slot) return false
      state.slot = slot
    }
    state.looked += 1
    return true
  }

  /** Whether the frame that was just looked at is taken, in every mode but `scene-changes`. */
  takes(): boolean {
    const { mode, interval } = this.#settings
    assert(mode !== 'scene-changes', 'a scene begins by its picture')
    // Pushed JPEGs are all keyframes.
    return mode !== 'interval' || (this.#state.looked - 1) % interval === 0
  }

  /**
   * The scene score of the frame that was just looked at, by its picture; null for the first, which no
   * other comes before. The measure is that of ffmpeg's select filter (libavfilter/f_select.c): the mean
   * absolute difference of the samples, 0 to 255, or its change since the frame before where that is
   * less, in hundredths. A change that goes on for several frames is one scene, not many.
   */
  score(picture: Uint8Array): number | null {
    const state = this.#state
    const { picture: before } = state
    state.picture = picture
    if (before === null) return null
    const difference = meanAbsoluteDifference(before, picture)
    const change = Math.abs(difference - state.difference)
    state.difference = difference
    return Math.min(1, Math.min(difference, change) / 100)
  }

  save(): Uint8Array {
    return Uint8Array.from(pack(this.#state))
  }
}

function meanAbsoluteDifference(one: Uint8Array, other: Uint8Array): number {
  assert(one.length === other.length, 'pictures are of one size')
  let sum = 0
  for (let at = 0; at < one.length; at += 1) {
    sum += Math.abs((one[at] as number) - (other[at] as number))
  }
  return sum / one.length
}
