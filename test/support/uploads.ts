import { gzipSync } from 'node:zlib'
import { pack } from 'msgpackr'
import type {
  BodyFormat,
  DecodeSettings,
  DecodeUpload,
  SessionType,
} from '../../src/contracts/tasks.ts'

export interface UploadOptions {
  readonly format?: BodyFormat
  readonly gzip?: boolean
  readonly envelope?: DecodeUpload['envelope']
  readonly settings?: Partial<DecodeSettings>
  /** Bytes of the buffer past the body. */
  readonly spareBytes?: number
}

/** A body as the front door hands it to the pool: in a buffer of its own. */
export function uploadOf(
  sessionType: SessionType,
  document: unknown,
  options: UploadOptions = {},
): DecodeUpload {
  const { format = 'json', gzip = false, envelope = 'upload', spareBytes = 0 } = options
  const plain = format === 'json' ? Buffer.from(JSON.stringify(document)) : pack(document)
  const bytes = gzip ? gzipSync(plain) : plain
  const body = new ArrayBuffer(bytes.length + spareBytes)
  new Uint8Array(body).set(bytes)
  const settings: DecodeSettings = {
    sessionType,
    onInvalid: 'reject-records',
    verify: 'structure',
    schema: null,
    ...options.settings,
  }
  return { body, byteLength: bytes.length, format, gzip, envelope, fingerprint: false, settings }
}

/** The body of a telemetry upload; the seed shifts its values. */
export function telemetryDocument(records: number, seed = 0): { records: unknown[] } {
  const startMs = Date.UTC(2025, 0, 20, 10, 30) + seed * 60_000
  return {
    records: Array.from({ length: records }, (_, index) => ({
      timestamp: new Date(startMs + index * 10).toISOString(),
      values: {
        temperature: 20 + ((seed * 7 + index) % 100) / 10,
        humidity: 45.5,
        on: index % 2 === 0,
      },
    })),
  }
}
