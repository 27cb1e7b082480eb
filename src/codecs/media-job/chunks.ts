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

interface Gathered {
  readonly bytes: Uint8Array
  readonly hash: Uint8Array
  readonly metadata: MediaItem['metadata']
}

/** How often a position is told where no chunk tells it. */
const progressIntervalMs = 250

/**
 * Gathers atoms into chunks and sends them. While as many chunks are unanswered as may be, `add` waits, so
 * whoever makes the atoms stands still too.
 */
export class ChunkSender {
  readonly #link: MediaLink
  #gathered: Gathered[] = []
  #bytes = 0
  #checkpoint: MediaCheckpoint
  #timer: NodeJS.Timeout | null = null
  /** What is gathered goes as soon as another chunk may be sent. */
  #isDue = false
  #unanswered = 0
  #stopped = false
  #wake: () => void = () => {}
  #toldAtMs = 0

  constructor(link: MediaLink, checkpoint: MediaCheckpoint) {
    this.#link = link
    this.#checkpoint = checkpoint
  }

  /** A chunk is stored. */
  answered(): void {
    this.#unanswered -= 1
    if (this.#isDue) this.#send()
    this.#wake()
  }

  /** Nothing is sent any more, and nobody waits. */
  stop(): void {
    this.#stopped = true
    this.#clearTimer()
    this.#wake()
  }

  /** One atom; `position` is how much of the source is worked off with it. */
  async add(bytes: Uint8Array, metadata: MediaItem['metadata'], position: number): Promise<void> {
    this.#gathered.push({ bytes, hash: hash('sha256', bytes, 'buffer'), metadata })
    this.#bytes += bytes.byteLength
    this.#checkpoint = { emitted: this.#checkpoint.emitted + 1, position }
    const isFull =
      this.#gathered.length >= limits.mediaChunkItemsMax || this.#bytes >= limits.mediaChunkBytesMax
    if (isFull) this.#sendInTurn()
    // Atoms that come seldom are not kept from the disk for long.
    else this.#timer ??= setTimeout(() => this.#sendInTurn(), limits.mediaChunkDelayMs)
    while (!this.#hasRoom && !this.#stopped) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
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

  get #hasRoom(): boolean {
    return this.#unanswered < limits.mediaChunksInFlightMax
  }

  #sendInTurn(): void {
    this.#clearTimer()
    if (this.#hasRoom) this.#send()
    else this.#isDue = true
  }

  #send(): void {
    this.#clearTimer()
    this.#isDue = false
    if (this.#gathered.length === 0 || this.#stopped) return
    const buffer = ownBuffer(this.#bytes)
    const target = new Uint8Array(buffer)
    // All digests in one buffer, because each would be cloned with the whole of Node's pool.
    const digests = new Uint8Array(32 * this.#gathered.length)
    let byteOffset = 0
    const items = this.#gathered.map(({ bytes, hash: digest, metadata }, index): MediaItem => {
      const own = digests.subarray(32 * index, 32 * (index + 1))
      own.set(digest)
      target.set(bytes, byteOffset)
      const item = { byteOffset, byteLength: bytes.byteLength, hash: own, metadata }
      byteOffset += bytes.byteLength
      return item
    })
    this.#gathered = []
    this.#bytes = 0
    this.#unanswered += 1
    this.#link.post({ kind: 'chunk', buffer, items, checkpoint: this.#checkpoint }, [buffer])
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
  }
}
