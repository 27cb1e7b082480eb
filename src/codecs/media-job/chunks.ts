import { hash } from 'node:crypto'
import { ownBuffer } from '../../contracts/buffers.ts'
import type { MediaCheckpoint } from '../../contracts/media.ts'
import type { MediaCommand, MediaItem, MediaMessage } from '../../contracts/tasks.ts'
import { limits } from '../../limits.ts'

/** The two ends of a media task's thread. */
export interface MediaLink {
  post(message: MediaMessage, transfer?: readonly ArrayBuffer[]): void
  onCommand(listener: (command: MediaCommand) => void): void
}

/** How often a position is told where no chunk tells it. */
const progressIntervalMs = 250

/** An atom that is larger than a chunk is one, and nothing else is on its way with it. */
const inFlightBytesMax = limits.mediaChunksInFlightMax * limits.mediaChunkBytesMax

/**
 * Gathers atoms into chunks and sends them. While as many chunks are unanswered as may be, or as many
 * bytes, `add` waits, so whoever makes the atoms stands still too.
 */
export class ChunkSender {
  readonly #link: MediaLink
  #gathered: MediaItem[] = []
  /** The bytes of what is gathered, in order, from its beginning. */
  #buffer: ArrayBuffer | null = null
  #bytes = 0
  #checkpoint: MediaCheckpoint
  #timer: NodeJS.Timeout | null = null
  /** What is gathered goes as soon as another chunk may be sent. */
  #isDue = false
  /** The bytes of each chunk that is, oldest first. */
  readonly #unanswered: number[] = []
  #stopped = false
  #wake: () => void = () => {}
  #toldAtMs = 0

  constructor(link: MediaLink, checkpoint: MediaCheckpoint) {
    this.#link = link
    this.#checkpoint = checkpoint
  }

  /** A chunk is stored. */
  answered(): void {
    this.#unanswered.shift()
    if (this.#isDue && this.#hasRoom) this.#send()
    this.#wake()
  }

  /** Nothing is sent any more, and nobody waits. */
  stop(): void {
    this.#stopped = true
    this.#clearTimer()
    this.#wake()
  }

  /**
   * One atom; `position` is how much of the source is worked off with it. A large one whose bytes fill
   * their buffer is moved, others are copied before it resolves.
   */
  async add(bytes: Uint8Array, metadata: MediaItem['metadata'], position: number): Promise<void> {
    if (this.#gathered.length > 0 && this.#bytes + bytes.byteLength > limits.mediaChunkBytesMax) {
      this.#sendInTurn()
      await this.#until(() => this.#gathered.length === 0)
    }
    if (this.#stopped) return
    const { byteLength } = bytes
    const place = { byteOffset: this.#bytes, byteLength }
    this.#gathered.push({ ...place, hash: hash('sha256', bytes, 'buffer'), metadata })
    this.#place(bytes)
    this.#checkpoint = { emitted: this.#checkpoint.emitted + 1, position }
    const isFull =
      this.#gathered.length >= limits.mediaChunkItemsMax || this.#bytes >= limits.mediaChunkBytesMax
    if (isFull) this.#sendInTurn()
    // Atoms that come seldom are not kept from the disk for long.
    else this.#timer ??= setTimeout(() => this.#sendInTurn(), limits.mediaChunkDelayMs)
    await this.#until(() => this.#hasRoom)
  }

  /** How far the source is worked off. */
  position(position: number): void {
    const nowMs = performance.now()
    if (nowMs - this.#toldAtMs < progressIntervalMs) return
    this.#toldAtMs = nowMs
    this.#link.post({ kind: 'progress', position })
  }

  /** Sends what is gathered. */
  finish(): void {
    this.#send()
  }

  /** For what is gathered. */
  get #hasRoom(): boolean {
    if (this.#unanswered.length === 0) return true
    if (this.#unanswered.length >= limits.mediaChunksInFlightMax) return false
    return this.#unanswered.reduce((sum, bytes) => sum + bytes, this.#bytes) <= inFlightBytesMax
  }

  /** Or until it is stopped. */
  async #until(condition: () => boolean): Promise<void> {
    while (!condition() && !this.#stopped) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }

  #sendInTurn(): void {
    this.#clearTimer()
    if (this.#hasRoom) this.#send()
    else this.#isDue = true
  }

  #send(): void {
    this.#clearTimer()
    this.#isDue = false
    if (this.#buffer === null || this.#stopped) return
    // All digests in one buffer, because each would be cloned with the whole of Node's pool.
    const digests = new Uint8Array(32 * this.#gathered.length)
    const items = this.#gathered.map((item, index): MediaItem => {
      const own = digests.subarray(32 * index, 32 * (index + 1))
      own.set(item.hash)
      return { ...item, hash: own }
    })
    const buffer = this.#buffer
    if (buffer.byteLength > this.#bytes) buffer.resize(this.#bytes)
    this.#unanswered.push(this.#bytes)
    this.#gathered = []
    this.#buffer = null
    this.#bytes = 0
    this.#link.post({ kind: 'chunk', buffer, items, checkpoint: this.#checkpoint }, [buffer])
  }

  /**
   * Writes an atom after those that are gathered. None lives on by itself: a thread whose heap holds
   * little is not collected for what lies outside of it.
   */
  #place(bytes: Uint8Array): void {
    const { buffer, byteLength } = bytes
    const isLarge = byteLength > limits.mediaChunkBytesMax
    if (isLarge && buffer instanceof ArrayBuffer && buffer.byteLength === byteLength) {
      this.#buffer = buffer
    } else {
      this.#buffer ??= ownBuffer(Math.max(byteLength, limits.mediaChunkBytesMax))
      new Uint8Array(this.#buffer).set(bytes, this.#bytes)
    }
    this.#bytes += byteLength
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }
}
