import type { RejectedChunk, RejectedRecord, RejectedRecords } from '../../src/contracts/tasks.ts'

/** A chunk as a worker makes it. */
export function chunkOf(...records: readonly RejectedRecord[]): RejectedChunk {
  return { bytes: new TextEncoder().encode(JSON.stringify(records)), records: records.length }
}

/** What the chunks of an upload hold. */
export function rejectedIn({ chunks }: RejectedRecords): RejectedRecord[] {
  return chunks.flatMap(({ bytes }) => JSON.parse(`${Buffer.from(bytes)}`) as RejectedRecord[])
}
