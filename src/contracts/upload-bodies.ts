import { Type } from '@sinclair/typebox'
import { RecordValue } from './http.ts'

/**
 * The documented upload bodies, for OpenAPI. The codecs read and check them by hand, a hundred times
 * faster than a schema would be walked.
 */

const Timestamp = Type.Union([
  Type.String({ format: 'date-time', description: 'RFC 3339 with zone' }),
  Type.Number({ description: 'milliseconds since the epoch' }),
])
const base64 = (description: string) => Type.String({ contentEncoding: 'base64', description })

const TelemetryUpload = Type.Object({
  records: Type.Array(
    Type.Object({ timestamp: Timestamp, values: Type.Record(Type.String(), RecordValue) }),
  ),
})
const VideoUpload = Type.Object({
  frames: Type.Array(
    Type.Object({
      frameNumber: Type.Integer(),
      timestamp: Timestamp,
      imageData: base64('JPEG; in msgpack the bytes themselves'),
      format: Type.Literal('jpeg'),
      width: Type.Integer(),
      height: Type.Integer(),
    }),
  ),
})
const AudioUpload = Type.Object({
  buffers: Type.Array(
    Type.Object({
      bufferNumber: Type.Integer(),
      timestamp: Timestamp,
      audioData: base64('WAV; in msgpack the bytes themselves'),
      format: Type.Literal('wav'),
      sampleRate: Type.Integer(),
      channels: Type.Integer(),
      bitDepth: Type.Integer(),
    }),
  ),
})
export const uploadBodies = { TelemetryUpload, VideoUpload, AudioUpload } as const

const envelope = {
  id: Type.Optional(Type.Union([Type.String(), Type.Number()])),
  idempotencyKey: Type.Optional(Type.String()),
}

/** The same over a WebSocket. */
export const UploadMessage = Type.Union([
  Type.Object({ type: Type.Literal('telemetry'), ...envelope, ...TelemetryUpload.properties }),
  Type.Object({ type: Type.Literal('video'), ...envelope, ...VideoUpload.properties }),
  Type.Object({ type: Type.Literal('audio'), ...envelope, ...AudioUpload.properties }),
])
