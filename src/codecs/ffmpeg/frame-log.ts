import { detailsOf, faultOf } from './fault.ts'
import type { Keyframe } from './frame-index.ts'
import type { KeyframePlan } from './keyframe-plan.ts'
import type { KeyframeSearch } from './keyframe-search.ts'
import type { VideoInfo } from './probe.ts'

/** What is known of an image before it comes; `drop` where it is encoded but not wanted. */
export type ExpectedFrame = TakenFrame | 'drop'

export interface TakenFrame {
  readonly sourceFrame: number
  readonly ptsMs: number
  readonly score: number | null
}

export interface FrameFault {
  /** From 0. */
  readonly frame: number
  readonly details: string
}

export interface FrameLogOptions {
  readonly info: VideoInfo
  readonly plan: KeyframePlan | null
  readonly search: KeyframeSearch | null
  readonly container: string
  /** Frames taken that are not encoded. */
  readonly skip: number
  readonly isScored: boolean
  readonly tellsPackets: boolean
  /** They could be told, and frames come in another order than theirs. */
  readonly couldTellPackets: boolean
  /** Lines stand in the order of the work. */
  readonly isInOrder: boolean
  /** What the decoder complained of so far. */
  readonly words: () => readonly string[]
}

/**
 * Reads ffmpeg's log in step with its work: which frames it decodes, which of them it encodes, and where
 * the first one is that it cannot decode.
 *
 * Frames are shown in another order than they are decoded in. When a packet turns out to be bad, frames
 * that were decoded before may still be to come; what is decoded later may rest on the bad one. So those
 * before the earliest time among the bad packet and its successors are good, and nothing else is.
 */
export class FrameLog {
  readonly expected: ExpectedFrame[] = []
  readonly #options: FrameLogOptions
  /** ffmpeg has looked at the file, which it does with what it has read so far, and begins. */
  #isAtWork = false
  #toSkip: number
  #decoded = 0
  #pts = Number.NaN
  #previousPts: number | null = null
  /** The keyframe that was decoded last. */
  #keyframe: Keyframe | null = null
  #firstPts = Number.NaN
  #packetPts = Number.NaN
  #isNextPacketBad = false
  /** ffmpeg holds the next frame that it gives for corrupt. */
  #isNextFrameBad = false
  /** Where packets cannot be told, a bad keyframe is one that never comes. */
  #isKeyframeBad = false
  /** From this time on nothing is good; null while all is. */
  #badPts: number | null = null
  #fault: FrameFault | null = null
  #details: string | null = null
  #needsPackets = false
  #isAstray = false

  constructor(options: FrameLogOptions) {
    this.#options = options
    // A plan begins at the first frame that is wanted, and a search drops those before.
    const isOfKeyframes = options.plan !== null || options.search !== null
    this.#toSkip = isOfKeyframes ? 0 : options.skip
  }

  /** Source frames that have been decoded, or keyframes where only these are. */
  get decoded(): number {
    return this.#decoded
  }

  /** The first source frame that is not good, once all before it have been told. */
  get fault(): FrameFault | null {
    return this.#fault
  }

  /** Something is bad, and only with the packets in the log can it be said what. */
  get needsPackets(): boolean {
    return this.#needsPackets
  }

  /** A keyframe was decoded while another one was due. */
  get isAstray(): boolean {
    return this.#isAstray
  }

  /** Nothing more is expected but what is. */
  get isOver(): boolean {
    return this.#fault !== null || this.#needsPackets || this.#isAstray
  }

  /** Source frames that are worked off but for those expected. */
  get position(): number {
    const next = this.expected.find((frame) => frame !== 'drop')
    if (next !== undefined) return next.sourceFrame
    if (this.#options.plan === null) return this.#decoded
    return this.#decoded === 0 ? 0 : this.#options.plan.nextSourceFrame
  }

  readLine(line: string): void {
    if (this.isOver) return
    const number = /^\[(info|warning)\] (-?(?:nan|inf|\d+\.\d+))$/.exec(line)
    if (number !== null) this.#readNumber(number[1] === 'info', Number(number[2]))
    else if (line.startsWith('[info] demuxer+ffmpeg')) this.#readPacket(line)
    else if (line.startsWith('[info] Stream mapping:')) this.#isAtWork = true
    else if (this.#isAtWork) this.#readComplaint(line)
  }

  /** Nothing comes any more. */
  end(): void {
    const isPlanIncomplete = this.#options.plan !== null && !this.#options.plan.isOver
    const isBad = this.#badPts !== null || this.#isNextPacketBad
    if (isBad || (this.#isKeyframeBad && isPlanIncomplete)) this.#stop()
  }

  get #nextFrame(): number {
    return this.#options.plan === null ? this.#decoded : this.#options.plan.nextSourceFrame
  }

  #readNumber(isTime: boolean, value: number): void {
    if (!isTime) {
      this.#expect(value)
      return
    }
    const isBad = this.#isNextFrameBad || (this.#badPts !== null && !(value < this.#badPts))
    if (isBad || (this.#isKeyframeBad && this.#options.plan?.isDue(value) === false)) {
      this.#stop()
      return
    }
    const keyframe = this.#options.plan?.decoded(value) ?? null
    if (this.#options.plan !== null && keyframe === null) {
      this.#isAstray = true
      return
    }
    const { fault } = this.#options.info
    const sourceFrame = this.#options.plan === null ? this.#decoded : keyframe?.sourceFrame
    if (fault !== null && (sourceFrame ?? 0) >= fault.frame) {
      this.#fault = fault
      return
    }
    if (this.#decoded === 0) this.#firstPts = value
    else this.#previousPts = this.#pts
    this.#decoded += 1
    this.#pts = value
    this.#keyframe = keyframe
  }

  #expect(value: number): void {
    const { plan, search } = this.#options
    const found = { sourceFrame: this.#decoded - 1, pts: this.#pts, previousPts: this.#previousPts }
    let taken: ExpectedFrame = plan === null ? this.#taken(value) : this.#keyframeTaken(plan)
    if (search?.isWanted(found) === false) taken = 'drop'
    if (this.#toSkip > 0) this.#toSkip -= 1
    else this.expected.push(taken)
  }

  #taken(score: number): TakenFrame {
    return {
      sourceFrame: this.#decoded - 1,
      ptsMs: this.#milliseconds(this.#pts - this.#firstPts),
      score: this.#options.isScored ? score : null,
    }
  }

  #milliseconds(ticks: number): number {
    const milliseconds = Math.round(ticks * this.#options.info.tickMs * 1_000) / 1_000
    return Number.isFinite(milliseconds) ? milliseconds : 0
  }

  #keyframeTaken(plan: KeyframePlan): ExpectedFrame {
    const keyframe = this.#keyframe
    if (keyframe === null || !plan.isTaken(keyframe)) return 'drop'
    const ptsMs = this.#milliseconds(keyframe.pts - this.#options.info.index.firstPts)
    return { sourceFrame: keyframe.sourceFrame, ptsMs, score: null }
  }

  /** `demuxer+ffmpeg -> ist_index:0 type:video pkt_pts:768 …`, just before it is decoded. */
  #readPacket(line: string): void {
    const text = /pkt_pts:(\S+)/.exec(line)?.[1]
    this.#packetPts = text === undefined ? Number.NaN : Number(text)
    if (this.#isNextPacketBad) this.#setBad()
    else if (this.#badPts !== null && this.#options.plan === null) this.#setBad()
  }

  #readComplaint(line: string): void {
    const fault = faultOf(line, this.#options.container)
    if (fault === null) return
    const { plan, tellsPackets, couldTellPackets, isInOrder, words } = this.#options
    if (fault === 'next-packet' && (plan !== null || this.#decoded === 0)) return
    if (plan === null && couldTellPackets && !tellsPackets) this.#needsPackets = true
    else if (fault === 'next-frame') this.#isNextFrameBad = true
    else if (fault === 'next-packet') this.#isNextPacketBad = true
    else if (plan === null) this.#setBad()
    else if (!isInOrder) this.#isKeyframeBad = true
    else if (!tellsPackets) this.#needsPackets = true
    else if (plan.has(this.#packetPts)) this.#setBad()
    else return
    this.#details ??= detailsOf(words(), 'the frame cannot be decoded')
  }

  #setBad(): void {
    this.#isNextPacketBad = false
    // Without a time nothing more is taken for good.
    const pts = Number.isNaN(this.#packetPts) ? Number.NEGATIVE_INFINITY : this.#packetPts
    this.#badPts = Math.min(this.#badPts ?? Number.POSITIVE_INFINITY, pts)
  }

  #stop(): void {
    const details = this.#details ?? 'the frame cannot be decoded'
    this.#fault ??= { frame: this.#nextFrame, details }
  }
}
