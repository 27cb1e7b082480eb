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

/** Uploads or messages that became one. */
export interface ScannedUploads {
  readonly ids: readonly MessageId[]
  /** Records of each. */
  readonly records: readonly number[]
  readonly verdict: AcceptedUpload
}

/** The same of several short JSON uploads or messages, as one. */
export function scanUploads(
  bodies: readonly Uint8Array[],
  envelope: DecodeUpload['envelope'],
  settings: DecodeSettings,
): ScannedUploads | null {
  const scanned = scanRun(bodies, envelope, settings)
  if (scanned === null) return null
  const { ids, records, ...decoded } = scanned
  const accepted = { kind: 'accepted', id: null, idempotencyKey: null, fingerprint: null } as const
  return { ids, records, verdict: { ...accepted, ...decoded } }
}
