import assert from 'node:assert/strict'

const KiB = 1024
const MiB = 1024 * KiB

/**
 * Every bound of the program. Full means a typed refusal, never growth. What an operator may change
 * has its default here and is read by config.ts.
 */
export const limits = {
  // Request bodies.
  /** One upload body on the wire: a hundred 200 KB frames as base64 are 27 MB. */
  uploadBodyBytesMax: 64 * MiB,
  uploadBodyBytesMin: 64 * KiB,
  /** A gzip body may grow to this while it is inflated; then it is a bomb. */
  inflatedBodyBytesMax: 64 * MiB,
  /** Every body that is not an upload. */
  requestBodyBytesMax: 1 * MiB,
  /** All bodies being read, decoded or waiting, together. */
  bodiesInFlightBytesMax: 160 * MiB,
  /** A body must arrive whole within this time. */
  bodyTimeoutMs: 60_000,
  /** Arrays and objects inside one another. */
  nestingDepthMax: 64,

  // Uploads and batches.
  uploadRecordsMax: 10_000,
  /** Values of one body, containers included: a worker's heap holds about 60 bytes for each. */
  uploadValuesMax: 2_097_152,
  batchSizeDefault: 1_000,
  batchSizeMax: 10_000,
  /** Column pages of a batch together: a worker merges them in its heap. */
  batchBytesMax: 32 * MiB,
  /** Columns of a batch's pages, added up: merging that many takes 340 MB. */
  batchColumnsMax: 65_536,
  batchDelayMsDefault: 5_000,
  batchDelayMsMax: 3_600_000,
  concurrentBatchesDefault: 5,
  concurrentBatchesMax: 64,
  /** Batches of all sessions in memory at a time, to be merged and stored. */
  batchesAssembledMax: 4,
  /** An upload that closes a batch waits this long for it, then gets 202. */
  batchWaitMs: 10_000,
  invalidRecordsShownMax: 100,
  /** What a rejected record keeps of itself. */
  rejectedRecordBytesMax: 4 * KiB,
  shownValueCharsMax: 200,

  // Telemetry records.
  fieldNameBytesMax: 256,
  recordFieldsMax: 1_024,
  uploadFieldsMax: 4_096,
  stringValueBytesMax: 64 * KiB,

  // Frames and buffers.
  imagePixelsMax: 50_000_000,
  /** A decoder goes over the whole image once a scan: thousands of empty ones would hold it for hours. */
  jpegScansMax: 100,
  imageDecodeTimeoutS: 10,
  audioChannelsMax: 8,
  sampleRateHzMin: 8_000,
  sampleRateHzMax: 192_000,

  // Sessions and schemas.
  sessionNameCharsMax: 256,
  metadataBytesMax: 16 * KiB,
  schemaFieldsMax: 1_024,
  schemaPatternCharsMax: 512,
  /** Steps of one match that backtracks as far as it can: about a millisecond. */
  schemaPatternStepsMax: 2_097_152,
  /** A pattern's input, less where its steps allow only less; below the minimum it is refused. */
  schemaPatternInputCharsMax: 256,
  schemaPatternInputCharsMin: 32,
  schemaEnumValuesMax: 1_024,
  endTimeoutMsDefault: 30_000,
  endTimeoutMsMax: 600_000,
  progressIntervalMs: 1_000,
  retriesDefault: 3,
  retriesMax: 10,
  retryDelayMsDefault: 1_000,
  /** A batch that has used up its retries is tried again no sooner than this. */
  retryBeyondMaxDelayMs: 30_000,
  retryDelayMsMax: 60_000,
  retryBackoffMultiplierDefault: 2,
  retryBackoffMultiplierMax: 10,

  // Workers.
  /** Uploads that one task may carry: a message to a thread costs as much as decoding 30 records. */
  taskUploadsMax: 256,
  taskBytesMax: 8 * MiB,
  /** Uploads waiting for a worker. */
  decodeQueueUploadsMax: 131_072,
  /** The largest body as text, two bytes a character where one is not Latin-1, beside its strings. */
  workerHeapMiBMax: 448,
  /** Tasks waiting in the pool itself: merges and reads beside a few decode tasks. */
  poolQueueTasksMax: 1_024,
  /** The first task must be done within this time after the start. */
  poolStartTimeoutMs: 10_000,
  /** Running tasks may finish within this time when the pool closes. */
  poolCloseTimeoutMs: 2_000,
  workersMax: 256,

  // Store.
  storeBytesMaxDefault: 256 * 1024 * MiB,
  /** Less leaves no room for a second copy of the pages that one transaction changes. */
  storeBytesMaxMin: 64 * MiB,
  /** 64 TiB: half of what 47 bits of address space can map. */
  storeBytesMaxMax: 64 * 1024 * 1024 * MiB,
  /** One transaction's bytes: LMDB holds them as dirty pages until the commit. */
  commitBytesMax: 24 * MiB,
  commitUnitsMax: 4_096,
  /** Units that wait for their transaction. */
  commitQueueUnitsMax: 65_536,
  /** Rows of an atom table that a scan holds at a time. */
  atomScanRows: 128,
  schemaCacheMax: 256,
  sessionCacheMax: 10_000,

  // Reading back.
  pageLimitDefault: 1_000,
  pageLimitMax: 10_000,
  /** Rejected records are up to 4 KiB each. */
  rejectedPageMax: 1_000,
  sessionsPageLimitDefault: 100,
  sessionsPageLimitMax: 1_000,
  /** Block bytes that one read hands to a worker, and that one request may scan. */
  readTaskBytesMax: 8 * MiB,
  readScanBytesMax: 64 * MiB,
  /** Block rows that one look into the store may pass over in one turn. */
  readScanRowsMax: 4_096,
  /** A page ends once its text is this long, and names its next cursor. */
  pageTextBytesMax: 8 * MiB,
  readsAtOnceMax: 4,
  readsWaitingMax: 1_024,
  /** Replies with bytes or pages that have not left yet, together. */
  repliesInFlightBytesMax: 128 * MiB,
  /** Rows times columns of one CSV text: sparse columns make empty cells. */
  csvCellsMax: 1_048_576,

  // Events.
  /** What one SSE or WebSocket write carries at most; a slow reader holds no more than this. */
  eventWriteBytesMax: 64 * KiB,
  eventReplayPageMax: 500,
  replaysPerTurnMax: 16,
  /** A subscriber that has not taken its bytes for this long is cut; it can resume. */
  subscriberStallMs: 15_000,
  subscriberStallCheckMs: 1_000,
  eventCommentIntervalMs: 15_000,
  subscribersMax: 20_000,

  // WebSocket.
  /** uWebSockets.js gathers a message before anyone can count it, so it may be no whole upload. */
  webSocketMessageBytesMax: 4 * MiB,
  webSocketIdleTimeoutS: 120,
  /** Unanswered messages of one connection: half of it is told as `flow`, past it they are refused. */
  webSocketPendingMessagesMax: 32_768,
  /** What a message takes beside its bytes while it is under way, for the budget of bodies. */
  webSocketMessageOverheadBytes: 1 * KiB,
  peekedMessageBytesMax: 4 * KiB,
  messageIdCharsMax: 256,
  idempotencyKeyCharsMax: 256,
  /** Bytes held back for a reader of a WebSocket; past it the connection is cut. */
  webSocketBufferBytesMax: 1 * MiB,

  // Doors.
  ticketTtlMs: 3_600_000,
  keyRefreshMs: 250,
  apiKeyCharsMin: 16,
  apiKeyCharsMax: 256,
  userNameCharsMax: 128,
  tenantMax: 4_294_967_295,
  /** Keys, by digest, whose lookup is remembered until any key changes. */
  keyCacheMax: 10_000,
  rateWindowMs: 60_000,
  /** Tenants or addresses counted one by one; those beyond share a count. */
  rateCountersMax: 65_536,
  /** A longer reply leaves in parts, as fast as the client takes it. */
  replyWriteBytesMax: 64 * KiB,
  /** How often slow bodies and stalled subscribers are looked for. */
  sweepIntervalMs: 1_000,
  rateLimitDefault: 1_000,
  rateLimitMax: 1_000_000_000,
  streamConnectionsDefault: 5,
  streamEventsPerMinuteDefault: 1_000,
  /** Open requests may finish within this time; then the workers and the store are closed. */
  closeTimeoutMs: 4_400,
  /** The process ends by itself this long after the first signal. */
  exitTimeoutMs: 9_500,
  /** A terminal's Ctrl-C reaches the process twice under npm: from the terminal and from npm. */
  signalRepeatMs: 500,
  retryAfterS: 1,
} as const

assert(limits.uploadRecordsMax <= limits.batchSizeMax, 'an upload must fit into a batch')
assert(limits.uploadBodyBytesMax <= limits.bodiesInFlightBytesMax, 'one body must fit')
assert(limits.uploadBodyBytesMax <= limits.inflatedBodyBytesMax, 'inflating never shrinks the cap')
assert(
  limits.workerHeapMiBMax * MiB > 3 * limits.inflatedBodyBytesMax,
  'a worker must survive the largest body',
)
assert(limits.pageLimitDefault <= limits.pageLimitMax)
assert(
  limits.closeTimeoutMs + 2 * limits.poolCloseTimeoutMs + 1_000 < limits.exitTimeoutMs,
  'decoder, pool and store close after the front door, before the process gives up',
)
assert(limits.exitTimeoutMs < 10_000, 'the promise is exit within 10 s')
assert(limits.commitBytesMax * 2 <= limits.storeBytesMaxMin, 'a full group commit must fit')
assert(limits.subscriberStallMs < 20_000, 'the promise is a cut within 20 s')
