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
  /**
   * A body must come, and a long reply must be taken, within this time and a second for each so many
   * bytes. uWebSockets.js itself cuts a body that brings less than 160 KB in ten seconds, and in 12 s who
   * sends no whole head.
   */
  transferGraceMs: 60_000,
  transferBytesPerSecondMin: 32 * KiB,
  /** A length that was announced counts as if it had come, for as long as it comes at this rate. */
  claimGraceMs: 1_000,
  claimBytesPerSecondMin: 4 * MiB,
  /** Who closes after its request is answered only once its body is read, or this time has passed. */
  lingerMs: 10_000,
  /** A heap is collected whole once it is larger by so much than what was left of it the last time. */
  heapGrowingPercent: 300,
  /** A buffer from here on lies in pages of its own: mapping them costs 0.5 ms a MB. */
  mappedBufferBytesMin: 2 * MiB,
  /** Bodies up to the largest of these are gathered in buffers that are used again, 64 MiB together. */
  bodyBufferClasses: [
    { bytes: 32 * KiB, count: 256 },
    { bytes: 128 * KiB, count: 128 },
    { bytes: 512 * KiB, count: 24 },
    { bytes: 2 * MiB, count: 14 },
  ],
  /** Larger ones are made in steps of this, so that one serves bodies of about its size. */
  largeBufferStepBytes: 4 * MiB,
  largeBuffersKeptBytesMax: 96 * MiB,
  largeBufferIdleMs: 5_000,
  queryMembersMax: 64,
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
  /** Rejected records share a row up to here: a page of one still reads a row, in 0.3 ms. */
  rejectedChunkBytesMax: 64 * KiB,
  shownValueCharsMax: 200,

  // Telemetry records.
  fieldNameBytesMax: 256,
  recordFieldsMax: 1_024,
  uploadFieldsMax: 4_096,
  stringValueBytesMax: 64 * KiB,
  /** Names of fields, as bodies spell them, that a thread's scanner remembers from body to body. */
  scannerKeysKept: 1_024,
  /** Its memory, 2 MiB of tables among it; one that a body has made larger is given back after it. */
  scannerMemoryBytesKept: 16 * MiB,

  // Frames and buffers.
  imagePixelsMax: 50_000_000,
  /** A decoder goes over the whole image once a scan: thousands of empty ones would hold it for hours. */
  jpegScansMax: 100,
  imageDecodeTimeoutS: 10,
  audioChannelsMax: 8,
  /** A WAV buffer up to this is parsed in memory that each thread keeps. */
  wavScratchBytesMax: 256 * KiB,
  sampleRateHzMin: 8_000,
  sampleRateHzMax: 192_000,

  // Frames taken out of videos, and segments cut out of audio.
  imageSideMax: 16_384,
  frameRateFpsMax: 1_000,
  frameIntervalMax: 1_000_000,
  frameIntervalDefault: 30,
  sceneThresholdDefault: 0.3,
  /** Of frames that are encoded: those of a file, and pushed ones that are shrunk. */
  compressionQualityDefault: 85,
  silenceThresholdDbDefault: -40,
  minSilenceDurationMsDefault: 300,
  minSegmentDurationMsDefault: 1_000,
  maxSegmentDurationMsDefault: 30_000,
  segmentDurationMsMax: 600_000,
  energyThresholdDbDefault: 12,
  speechAggressivenessDefault: 2,
  /**
   * A segment is cut before it has more: at 192 kHz, 8 channels and 32 bit after 1.4 s, at 48 kHz, stereo
   * and 16 bit after 44 s. LMDB's threads keep what they once took for one: with 32 MiB two jobs on such
   * files took 370 MiB, with 16 MiB 200, with 8 MiB 160.
   */
  segmentBytesMax: 8 * MiB,
  /** A buffer whose time is off by more from where the audio before it ends begins anew. */
  audioGapMs: 1_000,
  /** Chunks of a WAV file on disk that are walked over: 4 GB may hold 500 million. */
  wavChunksMax: 65_536,
  /** Of a WAV file on disk, at a time. */
  wavReadBytes: 256 * KiB,

  /** Buffers of a session that wait to be cut: of more, those that are small are joined. */
  pendingBuffersMax: 128,
  pendingJoinBytesMax: 1 * MiB,
  /** Frames or buffers of a session whose batches follow each other that one task takes. */
  streamTaskBytesMax: 8 * MiB,

  // Media files.
  mediaFileBytesMaxDefault: 4 * 1024 * MiB,
  mediaFileBytesMaxMin: 1 * MiB,
  /** All spooled files together. */
  spoolBytesMaxDefault: 16 * 1024 * MiB,
  spoolBytesMaxMax: 64 * 1024 * 1024 * MiB,
  /** Bytes of one upload that wait for the disk: past it the client is not read. */
  spoolWriteBytesMax: 4 * MiB,
  /**
   * The socket library reads on, held back or not, for as long as a read fills its 512 KB, as a sender on
   * the same machine can: 360 MB came so. What waits past this is written before the next read.
   */
  spoolHeldBytesMax: 24 * MiB,
  /** What one write takes: as much as one read of the socket gives. */
  spoolBlockBytes: 512 * KiB,
  spoolBlocksKeptMax: 16,
  /** Free space of the disk that the spool leaves to the store: files become atoms there. */
  spoolReserveBytes: 64 * MiB,
  /** Media jobs at work at a time, and those of one tenant that wait. */
  mediaJobsRunningMax: 2,
  /** Beyond those, for tenants that have none at work. */
  mediaJobsGuestsMax: 1,
  mediaJobsQueuedMax: 1_000,
  /** From the start of a job's work to its end. */
  mediaTimeoutSDefault: 3_600,
  mediaTimeoutSMax: 86_400,
  /** A decoder that is read and tells nothing for so long hangs. */
  mediaStallMs: 30_000,
  /** A worker that was told to stop and has not is ended. */
  mediaCancelGraceMs: 500,
  /** A decoder that was killed and is still there after so long is left to the system. */
  decoderKillWaitMs: 1_000,
  /** An ffmpeg that does not tell its version within this time is none. */
  ffmpegVersionTimeoutMs: 5_000,
  /** One allocation of ffmpeg's: the largest picture as 16-bit RGBA is 400 MB. */
  ffmpegAllocationBytesMax: 512 * MiB,
  /** Streams of one container; the first that fits is taken. */
  mediaStreamsMax: 64,
  /** What is kept of ffmpeg's last words, and the longest line of its log that is looked at. */
  decoderLogLinesMax: 20,
  decoderLogLineCharsMax: 400,
  /** Packets whose order of presentation is not settled yet: H.264 and H.265 hold back 16 frames. */
  mediaReorderPacketsMax: 1_024,
  /** Boxes of an MP4 that are stepped over to see whether it is cut off; an hour of fragments has 7,200. */
  mediaBoxesMax: 100_000,
  /** Keyframes that a video may have where not every frame is one: 20 bytes each are held. */
  mediaKeyframesMax: 1_000_000,
  /** One frame as JPEG: the largest picture at 4 bytes a pixel would still fit. */
  extractedFrameBytesMax: 200 * MiB,
  /** A job whose process died this often before it got any further fails. */
  mediaRunsMax: 3,
  /** A media thread's heap: frames and samples stand outside of it. */
  mediaHeapMiBMax: 128,
  /** Atoms go to the store when so many or so many bytes of them are there, or after so long. */
  mediaChunkItemsMax: 256,
  mediaChunkBytesMax: 4 * MiB,
  mediaChunkDelayMs: 500,
  /** Chunks that a job may have on their way to the disk; past it the decoder is not read. */
  mediaChunksInFlightMax: 2,
  /** Source frames of a video, and samples of each channel of an audio file. */
  mediaFramesMax: 100_000_000,
  mediaSamplesMax: 192_000 * 86_400,
  /** A build before this year is told of at start: its decoders have known faults. */
  ffmpegYearMin: 2022,
  /** How long `?wait=` may hold a reply. */
  jobWaitSMax: 60,
  jobWaitsMax: 10_000,

  // Sessions and schemas.
  sessionNameCharsMax: 256,
  metadataBytesMax: 16 * KiB,
  schemaFieldsMax: 1_024,
  /** One definition as JSON, registered or inline: the most fields, each with a validation, fit. */
  schemaBytesMax: 128 * KiB,
  /** Registered schemas of a tenant, each version counted. */
  schemasMax: 1_000,
  schemasPageLimitMax: 1_000,
  /** A page of schemas ends once they are this long as JSON, and names its next cursor. */
  schemasPageBytesMax: 1 * MiB,
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
  /** Of one tenant: each may have a batch and its timers in memory. */
  openSessionsMax: 10_000,
  /** A session ends by itself this long after its start. */
  sessionTtlMs: 86_400_000,
  sessionSweepMs: 60_000,
  /** The next sweep, where one has found as many as it may end. */
  sessionSweepAgainMs: 1_000,
  /** Sessions that one sweep ends. */
  sessionSweepMax: 256,
  /** An answer is given again for this long. */
  idempotencyTtlMs: 86_400_000,
  /** Dead letters that one job redrives. */
  redriveSelectionMax: 1_000,
  deadLetterPayloadMax: 1_000,
  deadLetterPayloadDefault: 100,
  retriesDefault: 3,
  retriesMax: 10,
  retryDelayMsDefault: 1_000,
  /** What a batch and its dead letter remember of their failures; redriving adds more. */
  attemptHistoryMax: 32,
  failureMessageCharsMax: 500,
  /** A batch that the store has no room for waits this long; it is no failure of the batch. */
  storeRetryDelayMs: 1_000,
  storeRetryDelayMsMax: 8_000,
  retryDelayMsMax: 60_000,
  /** However often a delay has been multiplied. */
  retryWaitMsMax: 3_600_000,
  retryBackoffMultiplierDefault: 2,
  retryBackoffMultiplierMax: 10,

  // Memory of the process (RssAnon), threads and libraries included.
  memoryMiBMin: 384,
  memoryMiBMax: 1024 * 1024,
  memoryMiBDefaultMin: 1_024,
  memoryMiBDefaultBase: 512,
  memoryMiBDefaultPerCpu: 256,
  /** The least that may be set for so many workers: each holds about 80 while bodies of 8 MB come. */
  memoryMiBBase: 192,
  memoryMiBPerWorker: 96,
  memorySampleMs: 100,
  /** Above this share of the bound uploads are refused, until less than the lower one is in use. */
  memoryHighShare: 0.75,
  memoryLowShare: 0.65,
  /** Shares of the bound that what waits in memory may have; the `BytesMax` of each is its cap. */
  bodyMemoryShare: 1 / 16,
  bodiesMemoryShare: 5 / 32,
  repliesMemoryShare: 1 / 8,
  commitQueueMemoryShare: 1 / 8,

  // Workers.
  /** Uploads that one task may carry: a message to a thread costs as much as decoding 30 records. */
  taskUploadsMax: 256,
  taskBytesMax: 8 * MiB,
  /** Uploads waiting for a worker. */
  decodeQueueUploadsMax: 131_072,
  /** The largest body as text, two bytes a character where one is not Latin-1, beside its strings. */
  workerHeapMiBMax: 448,
  /** A body up to this is scanned on the main thread, where it can be. */
  inPlaceBodyBytesMax: 128 * KiB,
  /** What is scanned there in one turn of the event loop takes about so long, the rest waits for the next. */
  inPlaceTurnMs: 1,
  /** Where that will take longer than this, workers get what comes. */
  inPlaceWaitMsMax: 20,
  /** Several that become one cost so much less that they may take longer. */
  runsTurnMs: 20,
  /** A body up to this goes to a worker as a copy, so that a worker's death does not take it along. */
  copiedBodyBytesMax: 1 * MiB,
  /** A body above this, inflated, can fill a worker's heap: one at a time is decoded. */
  lightBodyBytesMax: 8 * MiB,
  /** A thread that is at a task for longer hangs: the largest telemetry body takes about a second. */
  taskTimeoutMs: 60_000,
  /** Threads that do not start are tried again no sooner than this. */
  workerRestartDelayMs: 1_000,
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
  /** After a commit of so many bytes the pages that the next two may take are made ready. */
  readyCommitBytesMin: 8 * MiB,
  /** The file is made longer by so much at a time, and read in such slices. */
  readyStepBytes: 64 * MiB,
  readySliceBytes: MiB,
  /** Units that wait for their transaction. */
  commitQueueUnitsMax: 65_536,
  commitQueueBytesMax: 128 * MiB,
  /**
   * A commit that has not come back after so many looks has hung. Generous: a disk's driver tries again
   * for half a minute, and the largest commit takes as long where a disk moves 1 MB/s.
   */
  commitLooksMax: 12,
  commitLookIntervalMs: 10_000,
  /**
   * Free space of the disk that only removals may use, because LMDB copies each page that they change;
   * and the least that has to be there for them, more than any one transaction of theirs takes.
   */
  diskReserveBytes: 16 * MiB,
  diskRemovalBytesMin: 2 * MiB,
  /** Of a store's bound this share, no more than so much, is kept for the events that tell of removals. */
  storeRemovalShare: 1 / 16,
  storeRemovalBytesMax: 64 * MiB,
  /** Rows of an atom table that a scan holds at a time. */
  atomScanRows: 128,
  schemaCacheMax: 256,
  sessionCacheMax: 10_000,
  /** Its rows together: one may hold an inline schema and metadata. */
  sessionCacheBytesMax: 32 * MiB,
  /** How often retention looks for what is too old or too much; it goes on at once while there is more. */
  retentionIntervalMs: 2_000,
  /** Rows that one of its transactions drops, 50 µs each at worst: everything else waits meanwhile. */
  retentionUnitRows: 256,
  /** A hundred years. */
  retentionHoursMax: 876_600,
  /** Sums of uses that a verification holds, 8 bytes each, and blobs that it looks at one by one at a time. */
  verificationSums: 1_048_576,
  verificationSuspectsMax: 262_144,
  /** Damages that `verify --json` names; of more there is the number. */
  verificationDamagesMax: 10_000,

  // Reading back.
  pageLimitDefault: 1_000,
  pageLimitMax: 10_000,
  /** Rejected records are up to 4 KiB each. */
  rejectedPageMax: 1_000,
  sessionsPageLimitDefault: 100,
  sessionsPageLimitMax: 1_000,
  /** Rows that a page of sessions or jobs looks at, also where its filter takes few: 1 µs each. */
  listScanRowsMax: 4_096,
  /** The same of dead letters: each is read with its history, in 5 to 20 µs. */
  deadLetterScanRowsMax: 1_024,
  /** Block bytes that one read hands to a worker, and that one request may scan. */
  readTaskBytesMax: 8 * MiB,
  readScanBytesMax: 64 * MiB,
  /** Block rows that one look into the store may pass over in one turn. */
  readScanRowsMax: 4_096,
  /** A page ends once its text is this long, and names its next cursor. */
  pageTextBytesMax: 8 * MiB,
  /** A worker keeps the buffer in which it makes texts, up to here. */
  textScratchBytesMax: 4 * MiB,
  readsAtOnceMax: 4,
  readsWaitingMax: 1_024,
  /** Replies with bytes or pages that have not left yet, together. */
  repliesInFlightBytesMax: 128 * MiB,
  /** Rows times columns of one CSV text: sparse columns make empty cells. */
  csvCellsMax: 1_048_576,
  /** The longest interval of `downsample`, a hundred years. */
  downsampleMsMax: 36_525 * 86_400_000,
  /** Intervals of one reply, and their fields, added up: about 6 MB of JSON. */
  downsampleCellsMax: 65_536,
  /** The text of them: a field's name may be 256 bytes, and six times as much once it is escaped. */
  downsampleTextBytesMax: 16 * MiB,
  /**
   * Blocks that one task aggregates, by bytes and number: 250,000 records take a worker 5 to 10 ms, and an
   * upload that comes meanwhile waits no longer.
   */
  aggregateTaskBytes: 2 * MiB,
  aggregateTaskBlocksMax: 1_024,
  /**
   * Numbers that are all alike take no bytes, but 4 ns each. A task takes no further block once it has
   * so many values, the times of rows included.
   */
  aggregateTaskValuesMax: 2_000_000,
  /** The main thread copies blocks out of the store for so long, then others have their turn. */
  aggregateTurnMs: 2,
  aggregatesAtOnceMax: 4,
  aggregatesWaitingMax: 256,
  /** Results of tasks that wait to be combined, and their cells. */
  aggregatePartsHeldMax: 256,
  aggregateCellsHeldMax: 131_072,

  // Events.
  /** What one SSE or WebSocket write carries at most; a slow reader holds no more than this. */
  eventWriteBytesMax: 64 * KiB,
  eventReplayPageMax: 500,
  /**
   * Of a tenant's log a page is read so many events at a time, until it is full or this many bytes were
   * looked at, whatever its filter takes: an event may be 400 KB with its escapes.
   */
  eventReplayRead: 32,
  eventReplayBytesMax: 1 * MiB,
  /** Reads of the log by subscribers in one turn of the event loop. */
  replayReadsPerTurnMax: 16,
  /** No further read is begun in a turn that has read for this long. */
  replayTurnMs: 10,
  /** Subscribers that get a page of it in one turn; those at the same event share a read. */
  replaysPerTurnMax: 128,
  /** Writes to subscribers in one turn: a write takes 5 to 10 µs, and nothing else happens meanwhile. */
  deliveriesPerTurnMax: 1_000,
  /** A pass over all who are live that takes so long is followed by a rest of about as long, so long at most. */
  fanOutPassMsMin: 1,
  fanOutRestMsMax: 5,
  /**
   * Events of one transaction times topics of their tenant that are looked at in one turn, and the time
   * for it: 0.3 µs each, 100 µs where a filter meets a long array. Past it they are read from the log.
   */
  topicOffersPerTurnMax: 65_536,
  publishTurnMs: 10,
  /** Published events of one topic that wait for their turn; past it they are read from the log. */
  topicFreshBytesMax: 1 * MiB,
  /** What all SSE and WebSocket readers' sockets hold back; past it those stalled longest are cut. */
  readerBufferBytesMax: 64 * MiB,
  /** A subscriber that has not taken its bytes for this long is cut; it can resume. */
  subscriberStallMs: 12_000,
  subscriberStallCheckMs: 1_000,
  eventCommentIntervalMs: 15_000,
  /** SSE streams and WebSockets together. */
  subscribersMax: 20_000,

  // Memories.
  memoryContentCharsMax: 65_536,
  /** As JSON in UTF-8, in which a control character takes six bytes. */
  memoryContentBytesMax: 64 * KiB,
  memoryTitleCharsMax: 512,
  memoryTypeCharsMax: 64,
  memoryTagsMax: 64,
  memoryTagCharsMax: 128,
  memoryMetadataBytesMax: 16 * KiB,
  memoryQueryCharsMax: 1_024,
  memoryReasonCharsMax: 128,
  memoryFilterMembersMax: 16,
  memoryFilterNameCharsMax: 128,
  memoryFilterTextCharsMax: 512,
  memoriesPageLimitDefault: 20,
  memoriesPageLimitMax: 100,
  memoryOffsetMax: 10_000_000,
  /** What pages of memories, together, render in one turn of the event loop: 1 to 4 ms. */
  memoryPageTurnBytes: 256 * KiB,
  /** Keys looked at in one turn of the event loop by a list that counts its matches: 2.5 to 4 µs each. */
  memoryScanKeysPerTurn: 1_000,

  /** Words of a query that are looked for; what follows them is not. */
  memoryQueryWordsMax: 16,
  /** Indexed words are cut to this, and runs of a query in a script without spaces. */
  memoryWordCharsMax: 64,
  memoryRunCharsMax: 32,
  /** Other spellings that a word of a query stands for, and those of all its words. */
  memorySpellingsMax: 24,
  memoryQuerySpellingsMax: 32,
  /** Words that may be found by another spelling: of these lengths, and so many of a tenant. */
  memorySpelledCharsMin: 3,
  memorySpelledCharsMax: 32,
  memoryVocabularyMax: 262_144,
  /**
   * What one of them takes: 32 UTF-16 codes, 1 byte for the length, 4 each for count, mask and hash, 8 in
   * the table of hashes.
   */
  memoryVocabularyWordBytes: 85,
  /** Vocabularies of the attached indexes; those used longest ago are put aside for it. */
  memoryVocabulariesBytesMax: 64 * MiB,
  /**
   * What a query may spend on looking for other spellings, in characters of the words that it compares
   * with, shared by its words: a query that spends it all among 262,144 words takes 50 to 70 ms.
   */
  memoryQueryComparedCharsMax: 2_000_000,
  /**
   * Of more memories that match, the newest are ranked. A word as it stands, or a beginning, takes 0.5 to
   * 1 µs a memory; other spellings, which come last, several.
   */
  memoriesRankedMax: 5_000,
  memoriesSpelledRankedMax: 1_000,
  /** Tenants whose index is attached at a time: SQLite takes ten. The page cache of each. */
  memoryIndexesOpenMax: 8,
  memoryIndexCacheKiB: 8_192,
  memorySearchHeapMiBMax: 256,
  /** What the main thread does for the search thread in one turn, and what one message may hold. */
  memorySearchTurnMs: 2,
  memorySearchMessageChars: 64 * KiB,
  memorySearchMessageItemsMax: 64,
  /** Messages that the search thread has not carried out. */
  memorySearchMessagesMax: 4,
  /** Changed memories that wait for the search thread; past it the index is built again. */
  memorySearchChangesMax: 65_536,
  /** Searches that wait or are at work, in all and of one tenant; the search thread is given two at a time. */
  memorySearchesWaitingMax: 256,
  memorySearchesOfTenantMax: 32,
  memorySearchesPostedMax: 2,
  memorySearchTimeoutMs: 10_000,
  /**
   * Free space of the disk below which the index is given up, and what more there must be, beside what it
   * took, for it to be built again; how often the disk is looked at while nothing is indexed.
   */
  memorySearchReserveBytes: 128 * MiB,
  memorySearchReturnBytes: 64 * MiB,
  memorySearchDiskLookMs: 2_000,
  /** A search thread that owes an answer and tells nothing for so long hangs. */
  memorySearchStallMs: 30_000,
  memorySearchStallCheckMs: 1_000,
  memorySearchRestartMsMin: 250,
  memorySearchRestartMsMax: 30_000,
  memorySearchCloseGraceMs: 1_000,

  // The stream of a tenant.
  streamHeartbeatSMin: 30,
  streamHeartbeatSMax: 3_600,
  streamFiltersMax: 16,
  /** What a connection past those that its key may have is told to wait. */
  streamConnectionRetryS: 60,
  streamRateWindowMs: 60_000,
  healthIntervalMs: 30_000,
  healthCheckIntervalMs: 1_000,
  /** A heartbeat tells no older status. */
  healthFreshMs: 100,
  analyticsIntervalMs: 60_000,
  /** Of requests and users that analytics and health count. */
  trafficWindowMs: 15 * 60_000,
  trafficBucketMs: 60_000,
  /** Of the process as a whole, for health: the last minute, to five seconds. */
  trafficHealthWindowMs: 60_000,
  trafficHealthBucketMs: 5_000,
  /** Tenants and users counted one by one within the window; those beyond are counted as none. */
  trafficTenantsMax: 10_000,
  trafficUsersMax: 100_000,
  /** After its last connection a tenant is told of health and analytics still, for who comes back. */
  followedTenantTtlMs: 10 * 60_000,
  /** Tenants without a connection that are told still; past it those that left first are not. */
  followedTenantsMax: 10_000,
  /** Tenants that one transaction tells: each takes about 10 µs. */
  announcedTenantsMax: 256,
  /** Keys that one transaction tells of. */
  announcedKeysMax: 256,

  // WebSocket.
  /** uWebSockets.js gathers a message before anyone can count it, so it may be no whole upload. */
  webSocketMessageBytesMax: 4 * MiB,
  /** Without a whole message or a pong for so long it is pinged, then cut; 4 MiB may take the time between. */
  webSocketPingMs: 60_000,
  webSocketSilenceMs: 180_000,
  /** Unanswered messages of one connection: half of it is told as `flow`, past it they are refused. */
  webSocketPendingMessagesMax: 32_768,
  /** Small uploads or messages that come together become one of so many, of about so many bytes, at most. */
  runUploadsMax: 2_048,
  runBytesMax: 256 * KiB,
  /** Sessions whose small uploads gather over a group of the store; where there are more, over a turn. */
  gatheringsHeldMax: 8,
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
  /** Bodies that are refused are sent all the same: who sends so much is told to wait the longer. */
  retryAfterSMax: 10,
  refusedBytesPerSecond: 64 * MiB,
} as const

assert(limits.uploadRecordsMax <= limits.batchSizeMax, 'an upload must fit into a batch')
assert(limits.uploadBodyBytesMax <= limits.bodiesInFlightBytesMax, 'one body must fit')
assert(
  limits.spoolWriteBytesMax < limits.spoolHeldBytesMax &&
    2 * limits.spoolHeldBytesMax <= limits.bodiesInFlightBytesMax,
  'what a file has waiting for the disk must fit',
)
assert(
  limits.spoolReserveBytes > limits.diskReserveBytes,
  'the store can still add things once the spool cannot',
)
assert(
  limits.mediaChunkBytesMax >= limits.mappedBufferBytesMin,
  'a chunk is shortened to what is in it',
)
assert(limits.uploadBodyBytesMax <= limits.inflatedBodyBytesMax, 'inflating never shrinks the cap')
assert(
  limits.workerHeapMiBMax * MiB > 3 * limits.inflatedBodyBytesMax,
  'a worker must survive the largest body',
)
assert(
  limits.bodyMemoryShare * 2 <= limits.bodiesMemoryShare,
  'a body fits beside what it inflates to',
)
assert(limits.memoryLowShare < limits.memoryHighShare && limits.memoryHighShare < 1)
assert(limits.webSocketPingMs < limits.webSocketSilenceMs)
assert(limits.copiedBodyBytesMax <= limits.taskBytesMax, 'copies are bounded by what a task holds')
assert(limits.taskTimeoutMs > 2_000 * limits.imageDecodeTimeoutS, 'an image has its own deadline')
assert(limits.pageLimitDefault <= limits.pageLimitMax)
assert(
  limits.downsampleCellsMax < limits.aggregateCellsHeldMax,
  'what was combined leaves room for what comes',
)
assert(limits.attemptHistoryMax > limits.retriesMax, 'a dead letter shows all attempts at first')
assert(
  limits.closeTimeoutMs + 2 * limits.poolCloseTimeoutMs + 1_000 < limits.exitTimeoutMs,
  'decoder, pool and store close after the front door, before the process gives up',
)
assert(limits.exitTimeoutMs < 10_000, 'the promise is exit within 10 s')
assert(limits.commitBytesMax * 2 <= limits.storeBytesMaxMin, 'a full group commit must fit')
assert(
  limits.diskRemovalBytesMin * 2 < limits.diskReserveBytes,
  'additions leave room for removals',
)
assert(
  limits.memorySearchReserveBytes > limits.spoolReserveBytes &&
    limits.memorySearchReserveBytes >
      limits.diskReserveBytes + limits.memoryIndexesOpenMax * limits.memoryIndexCacheKiB * KiB,
  'what the search thread has yet to write leaves the store its own',
)
assert(
  limits.memoryVocabularyWordBytes >= 2 * limits.memorySpelledCharsMax + 21 &&
    2 * limits.memoryVocabularyMax * limits.memoryVocabularyWordBytes <=
      limits.memoryVocabulariesBytesMax,
  'the largest vocabulary fits, and so does its growing or packing',
)
assert(
  limits.memorySearchesPostedMax < limits.memorySearchesOfTenantMax &&
    limits.memorySearchesOfTenantMax * 2 <= limits.memorySearchesWaitingMax,
  'one tenant leaves room to others',
)
assert(
  limits.trafficWindowMs % limits.trafficBucketMs === 0 &&
    limits.trafficHealthWindowMs % limits.trafficHealthBucketMs === 0,
  'a window is whole buckets',
)
assert(limits.eventWriteBytesMax <= limits.topicFreshBytesMax, 'a batch must fit')
assert(limits.webSocketBufferBytesMax <= limits.readerBufferBytesMax, 'one reader must fit')
assert(
  limits.subscriberStallMs + limits.subscriberStallCheckMs < 20_000,
  'the promise is a cut within 20 s',
)
