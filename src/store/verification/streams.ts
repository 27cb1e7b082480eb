import { hasEnded } from '../../contracts/http.ts'
import { keyNumber } from '../keys.ts'
import { decodeBuffer } from '../streams.ts'
import type { Follower, Inspection } from './inspection.ts'
import type { OccurrenceSums } from './occurrences.ts'
import type { InspectedSession } from './sessions.ts'

/** What a session holds between two batches. */
export interface StreamTables {
  readonly buffers: Follower
  readonly streamStates: Follower
}

/** Only an open session holds anything, and buffers only where audio is cut. */
export function checkStreams(
  inspection: Inspection,
  { row, where }: InspectedSession,
  { buffers, streamStates }: StreamTables,
  sums: OccurrenceSums,
): void {
  const isOpen = !hasEnded(row.status)
  const cutsAudio = row.segmentation !== null
  for (const { key, value } of buffers.of(row.number)) {
    const place = { ...where, buffer: keyNumber(key, 1) }
    inspection.counts.pendingBuffers += 1
    const buffer = inspection.attempt('pending buffer', place, () => decodeBuffer(key, value))
    if (buffer !== null) sums.take(row.tenant, buffer.hash, buffer.byteLength)
    inspection.compare('pending buffer', place, 'an open session', true, isOpen)
    inspection.compare('pending buffer', place, 'a session that cuts audio', true, cutsAudio)
  }
  if ([...streamStates.of(row.number)].length === 0) return
  const hasCodec = cutsAudio || row.frameExtraction !== null
  inspection.compare('stream state', where, 'an open session', true, isOpen)
  inspection.compare('stream state', where, 'a session that selects or cuts', true, hasCodec)
}
