import { randomBytes } from 'node:crypto'
import { checkDefinition } from '../codecs/telemetry/schema.ts'
import { invalidBody, Refusal } from '../contracts/errors.ts'
import type { StartSession } from '../contracts/http.ts'
import type { FrameSettings, SegmentSettings } from '../contracts/media.ts'
import type { DecodeSettings } from '../contracts/tasks.ts'
import { limits } from '../limits.ts'
import type { Schemas, SessionRow } from '../store/interfaces.ts'

/** What a client set of a session, checked, with the defaults filled in. */
export type SessionSettings = Pick<
  SessionRow,
  | 'type'
  | 'metadata'
  | 'batchSize'
  | 'maxBatchDelayMs'
  | 'maxConcurrentBatches'
  | 'retry'
  | 'decode'
  | 'frameExtraction'
  | 'segmentation'
> & { readonly name: string | null }

/** Throws Refusal `INVALID_BODY` and `SCHEMA_NOT_FOUND`. */
export function sessionSettings(
  schemas: Schemas,
  tenant: number,
  request: StartSession,
): SessionSettings {
  const { metadata = {}, retry } = request
  if (Buffer.byteLength(JSON.stringify(metadata)) > limits.metadataBytesMax) {
    throw invalidBody('metadata', `at most ${limits.metadataBytesMax} bytes of JSON`)
  }
  return {
    type: request.sessionType,
    name: request.sessionName ?? null,
    metadata,
    batchSize: request.batchSize ?? limits.batchSizeDefault,
    maxBatchDelayMs: request.maxBatchDelayMs ?? limits.batchDelayMsDefault,
    maxConcurrentBatches: request.maxConcurrentBatches ?? limits.concurrentBatchesDefault,
    retry: {
      maxRetries: retry?.maxRetries ?? limits.retriesDefault,
      retryDelayMs: retry?.retryDelayMs ?? limits.retryDelayMsDefault,
      retryBackoffMultiplier: retry?.retryBackoffMultiplier ?? limits.retryBackoffMultiplierDefault,
    },
    decode: decodeSettings(schemas, tenant, request),
    frameExtraction: frameExtraction(request),
    segmentation: segmentation(request),
  }
}

/** The row of a session that starts now. */
export function newSession(
  tenant: number,
  settings: SessionSettings,
  nowMs: number,
): Omit<SessionRow, 'number'> {
  return {
    ...settings,
    id: `stream-session-${randomBytes(16).toString('hex')}`,
    tenant,
    name: settings.name ?? `${settings.type} ${new Date(nowMs).toISOString()}`,
    status: 'initializing',
    createdAtMs: nowMs,
    lastActivityAtMs: nowMs,
    endedAtMs: null,
    bytesReceived: 0,
    recordsReceived: 0,
    recordsRejected: 0,
    recordsQueued: 0,
    recordsProcessed: 0,
    recordsCancelled: 0,
    recordsDead: 0,
    openJobs: 0,
    atomsCreated: 0,
    batchesReceived: 0,
    batchesProcessed: 0,
    processingTimeMs: 0,
    nextBatch: 1,
    atomRows: 0,
    rejectedRows: 0,
    journalEntries: 0,
    chain: new Uint8Array(32),
    deadLetters: 0,
    ending: null,
    final: null,
    eventsDroppedThrough: 0,
    atomRowsDropped: 0,
    rejectedRowsDropped: 0,
    chainDropped: new Uint8Array(32),
  }
}

function decodeSettings(schemas: Schemas, tenant: number, request: StartSession): DecodeSettings {
  if (request.schema !== undefined && request.sessionType !== 'telemetry') {
    throw invalidBody('schema', 'only with sessionType "telemetry"')
  }
  if (request.verify !== undefined && request.sessionType !== 'video') {
    throw invalidBody('verify', 'only with sessionType "video"')
  }
  return {
    sessionType: request.sessionType,
    onInvalid: request.onInvalid ?? 'reject-records',
    verify: request.verify ?? 'structure',
    schema: schemaText(schemas, tenant, request.schema),
  }
}

/** What frames of files are taken by, where a session sets nothing: the documented configuration. */
export const frameDefaults: FrameSettings = {
  mode: 'keyframes',
  frameRateFps: null,
  resolution: null,
  compressionQuality: null,
  interval: limits.frameIntervalDefault,
  sceneThreshold: limits.sceneThresholdDefault,
}

export const segmentDefaults: SegmentSettings = {
  mode: 'silence',
  silenceThresholdDb: limits.silenceThresholdDbDefault,
  minSilenceDurationMs: limits.minSilenceDurationMsDefault,
  minSegmentDurationMs: limits.minSegmentDurationMsDefault,
  maxSegmentDurationMs: limits.maxSegmentDurationMsDefault,
  energyThresholdDb: limits.energyThresholdDbDefault,
  speechAggressiveness: limits.speechAggressivenessDefault,
}

function frameExtraction({
  sessionType,
  frameExtraction: asked,
}: StartSession): FrameSettings | null {
  if (asked === undefined) return null
  if (sessionType !== 'video') {
    throw invalidBody('frameExtraction', 'only with sessionType "video"')
  }
  const { frameExtractionMode, ...others } = asked
  const mode = frameExtractionMode ?? frameDefaults.mode
  requireMode('frameExtraction.interval', asked.interval, mode, 'interval')
  requireMode('frameExtraction.sceneThreshold', asked.sceneThreshold, mode, 'scene-changes')
  return { ...frameDefaults, ...others, mode }
}

function segmentation({ sessionType, segmentation: asked }: StartSession): SegmentSettings | null {
  if (asked === undefined) return null
  if (sessionType !== 'audio') throw invalidBody('segmentation', 'only with sessionType "audio"')
  const { segmentationMode, ...others } = asked
  const mode = segmentationMode ?? segmentDefaults.mode
  requireMode('segmentation.energyThresholdDb', asked.energyThresholdDb, mode, 'energy')
  requireMode(
    'segmentation.speechAggressiveness',
    asked.speechAggressiveness,
    mode,
    'speech-detection',
  )
  // A longest segment below the default of the shortest is a wish for shorter ones.
  const { maxSegmentDurationMs = segmentDefaults.maxSegmentDurationMs } = asked
  const minSegmentDurationMs =
    asked.minSegmentDurationMs ??
    Math.min(segmentDefaults.minSegmentDurationMs, maxSegmentDurationMs)
  if (minSegmentDurationMs > maxSegmentDurationMs) {
    throw invalidBody(
      'segmentation.minSegmentDurationMs',
      `at most maxSegmentDurationMs, which is ${maxSegmentDurationMs}`,
    )
  }
  return { ...segmentDefaults, ...others, mode, minSegmentDurationMs, maxSegmentDurationMs }
}

/** A member that its mode would not look at is a mistake of the client's. */
function requireMode(field: string, value: unknown, mode: string, expected: string): void {
  if (value === undefined || mode === expected) return
  throw invalidBody(field, `only with the mode "${expected}", not "${mode}"`)
}

function schemaText(
  schemas: Schemas,
  tenant: number,
  schema: StartSession['schema'],
): string | null {
  if (schema === undefined) return null
  if ('fields' in schema) {
    checkDefinition(schema)
    return JSON.stringify({ fields: schema.fields, additionalFields: schema.additionalFields })
  }
  const { name, version } = schema
  const registered = schemas.get(tenant, name, version)
  if (registered === null) {
    throw new Refusal('SCHEMA_NOT_FOUND', { fields: { schemaName: name, schemaVersion: version } })
  }
  const { fields, additionalFields } = registered
  return JSON.stringify({ fields, additionalFields })
}
