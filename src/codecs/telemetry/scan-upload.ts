import type {
  DecodeSettings,
  DecodeUpload,
  DecodeVerdict,
  MessageId,
} from '../../contracts/tasks.ts'
import { scanRecords, scanRun } from './decode.ts'

export type AcceptedUpload = Extract<DecodeVerdict, { kind: 'accepted' }>

/**
 * The verdict on a telemetry upload whose bytes can be scanned; null where it is anything else, or where
 * something in it is out of the ordinary and `decodeUpload` has to say what. It neither waits nor throws.
 */
export function scanUpload(upload: DecodeUpload, bytes: Uint8Array): AcceptedUpload | null {
  const scanned = upload.settings.sessionType === 'telemetry' ? scanRecords(bytes, upload) : null
  if (scanned === null) return null
  return { kind: 'accepted', idempotencyKey: null, fingerprint: null, ...scanned }
}

/** Messages that became one upload. */
export interface ScannedMessages {
  readonly ids: readonly MessageId[]
  /** Records of each message. */
  readonly records: readonly number[]
  readonly verdict: AcceptedUpload
}

/** The same of short JSON messages, as one upload. */
export function scanMessages(
  messages: readonly Uint8Array[],
  settings: DecodeSettings,
): ScannedMessages | null {
  const scanned = scanRun(messages, settings)
  if (scanned === null) return null
  const { ids, records, ...decoded } = scanned
  const accepted = { kind: 'accepted', id: null, idempotencyKey: null, fingerprint: null } as const
  return { ids, records, verdict: { ...accepted, ...decoded } }
}
