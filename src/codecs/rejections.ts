import { type InvalidRecord, Refusal } from '../contracts/errors.ts'
import type {
  DecodeSettings,
  RejectedChunk,
  RejectedRecord,
  RejectedRecords,
} from '../contracts/tasks.ts'
import { limits } from '../limits.ts'

/** Collects what is rejected of one upload, as text. */
export class Rejections {
  readonly #shown: InvalidRecord[] = []
  readonly #chunks: RejectedChunk[] = []
  readonly #encoder = new TextEncoder()
  #count = 0
  /** Of the chunk under way: one text a record, and their bytes with what stands between them. */
  #texts: string[] = []
  #bytes = 0

  add(rejected: RejectedRecord): void {
    this.#count += 1
    if (this.#shown.length < limits.invalidRecordsShownMax) {
      const { record: _record, ...shown } = rejected
      this.#shown.push(shown)
    }
    const text = JSON.stringify(rejected)
    const bytes = Buffer.byteLength(text) + 1
    if (this.#bytes + bytes > limits.rejectedChunkBytesMax) this.#endChunk()
    this.#texts.push(text)
    this.#bytes += bytes
  }

  /** Throws INVALID_RECORDS where nothing, or under `reject-batch` not all, of an upload is valid. */
  finish(received: number, settings: DecodeSettings): RejectedRecords {
    const isKept = this.#count < received && settings.onInvalid === 'reject-records'
    if (this.#count > 0 && !isKept) {
      throw new Refusal('INVALID_RECORDS', { fields: { invalidRecords: this.#shown } })
    }
    this.#endChunk()
    return { count: this.#count, shown: this.#shown, chunks: this.#chunks }
  }

  #endChunk(): void {
    if (this.#texts.length === 0) return
    const bytes = this.#encoder.encode(`[${this.#texts.join(',')}]`)
    this.#chunks.push({ bytes, records: this.#texts.length })
    this.#texts = []
    this.#bytes = 0
  }
}
