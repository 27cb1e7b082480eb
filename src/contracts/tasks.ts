import type { ErrorCode, InvalidRecord } from './errors.ts'
import type {
  CutReason,
  FfmpegBinary,
  FrameSettings,
  MediaCheckpoint,
  MediaErrorCode,
  MediaType,
  SegmentSettings,
} from './media.ts'

/**
 * Every message between the main thread and a worker. Bytes go by transfer in both directions, small
 * bodies excepted; what is wrong with an upload comes back as data, a rejected promise means that the
 * worker itself failed.
 */

export type SessionType = 'telemetry' | 'video' | 'audio'
export type BodyFormat = 'json' | 'msgpack'

/** What of a session decides how its uploads are decoded. */
export interface DecodeSettings {
  readonly sessionType: SessionType
  readonly onInvalid: 'reject-records' | 'reject-batch'
  readonly verify: 'structure' | 'pixels'
  /** JSON text of the schema's definition (InlineSchema), the key of the worker's compiled cache. */
  readonly schema: string | null
}

export interface DecodeUpload {
  /**
   * Shared, or copied up to `limits.copiedBodyBytesMax`, or transferred: then the sender's buffer is
   * detached. The body is bytes `[0, byteLength)` of it.
   */
  readonly body: ArrayBuffer | SharedArrayBuffer
  readonly byteLength: number
  readonly format: BodyFormat
  readonly gzip: boolean
  /** `upload`: the documented upload body. `message`: the same members beside a `type`, over WebSocket. */
  readonly envelope: 'upload' | 'message'
  /** Asks for the fingerprint; a message that bears an idempotencyKey gets one unasked. */
  readonly fingerprint: boolean
  readonly settings: DecodeSettings
}

/** Several uploads share a task, because a message to a thread costs as much as decoding 30 records. */
export interface DecodeTask {
  readonly kind: 'decode'
  readonly uploads: readonly DecodeUpload[]
}

/** A record, frame or buffer that was refused, with what is kept of it. */
export interface RejectedRecord extends InvalidRecord {
  /** JSON text of the record, bytes left out, cut at `limits.rejectedRecordBytesMax`. */
  readonly record: string
}

/** Rejected records of one upload that follow each other, as they are stored and as one is read. */
export interface RejectedChunk {
  /** JSON text of an array of RejectedRecord, UTF-8. Its own buffer, transferred. */
  readonly bytes: Uint8Array
  readonly records: number
}

/** What was rejected of an upload. Text already: ten thousand objects would hold up the main thread. */
export interface RejectedRecords {
  readonly count: number
  /** The first of them, up to `limits.invalidRecordsShownMax`. */
  readonly shown: readonly InvalidRecord[]
  /** All of them in order. */
  readonly chunks: readonly RejectedChunk[]
}

/** One column page: the records of an upload or batch (codecs/telemetry/page-format.ts has the format). */
export interface EncodedPage {
  /** Its own buffer, transferred. */
  readonly bytes: Uint8Array
  /** SHA-256 of `bytes`, 32 bytes. */
  readonly hash: Uint8Array
  readonly records: number
  readonly columns: number
  /** What its values take in a heap: numbers as doubles, every string in full. */
  readonly openBytes: number
  /** Smallest and largest timestamp, milliseconds since the epoch, fraction included. */
  readonly fromMs: number
  readonly toMs: number
}

/** A frame or buffer inside a body's buffer. */
export interface MediaItem {
  readonly byteOffset: number
  readonly byteLength: number
  /** SHA-256 of the bytes, 32 bytes. */
  readonly hash: Uint8Array
  /** What the client said of it (frameNumber, timestamp, format, width, …), bytes left out. */
  readonly metadata: Readonly<Record<string, string | number | boolean | null>>
}

export type DecodedContent =
  | { readonly kind: 'page'; readonly page: EncodedPage }
  | {
      readonly kind: 'media'
      /**
       * The body's own buffer where nothing had to be decoded, transferred back unless it is shared.
       */
      readonly buffer: ArrayBuffer | SharedArrayBuffer
      readonly items: readonly MediaItem[]
    }

/** The `id` that a client gave its WebSocket message; null where it gave none, and over HTTP. */
export type MessageId = string | number | null

export type DecodeVerdict =
  | {
      readonly kind: 'accepted'
      /** `id` and `idempotencyKey` of a WebSocket message; null over HTTP. */
      readonly id: MessageId
      readonly idempotencyKey: string | null
      /**
       * SHA-256 of what the upload means, 32 bytes: the same records, frames or buffers in another
       * encoding or order of members have the same. Null where nobody asked for it.
       */
      readonly fingerprint: Uint8Array | null
      /** Records in the upload, rejected ones included. Content holds `received - rejected.count`. */
      readonly received: number
      readonly rejected: RejectedRecords
      readonly content: DecodedContent
    }
  | {
      readonly kind: 'control'
      readonly id: MessageId
      readonly type: 'ping' | 'end'
      /** The members of an `end` message beside type and id, not yet validated. */
      readonly options: Readonly<Record<string, unknown>>
    }
  | {
      readonly kind: 'refused'
      readonly id: MessageId
      readonly code: ErrorCode
      readonly message: string
      readonly fields: Readonly<Record<string, unknown>>
    }

export interface DecodeResult {
  /** One per upload, in order. */
  readonly verdicts: readonly DecodeVerdict[]
}

/** Pages of one batch, in order, become its block: the same bytes as if they had come in one upload. */
export interface MergeTask {
  readonly kind: 'merge'
  /** Each in a buffer of its own, transferred. */
  readonly pages: readonly Uint8Array[]
}

export type ReadFormat = 'json' | 'ndjson' | 'csv'

export interface ReadBlock {
  /** Transferred. */
  readonly bytes: Uint8Array
  /** Hex, for the addresses. */
  readonly hash: string
  /** The row to begin at. */
  readonly firstIndex: number
}

/** Rows of blocks, in order, that lie in a time range, as text. */
export interface ReadTask {
  readonly kind: 'read'
  readonly blocks: readonly ReadBlock[]
  /** Milliseconds since the epoch with fraction; `from` inclusive, `to` exclusive; null is open. */
  readonly fromMs: number | null
  readonly toMs: number | null
  /** Only these members of `values`; null is all. */
  readonly fields: readonly string[] | null
  readonly limit: number
  readonly format: ReadFormat
}

export interface ReadResult {
  /**
   * UTF-8, own buffer, transferred. `json`: record objects joined by commas, without brackets.
   * `ndjson`: a record object a line. `csv`: the values alone, see `columns`.
   */
  readonly bytes: Uint8Array
  readonly records: number
  /** Where the next row stands: block position in `blocks` and row; null when all were read. */
  readonly next: { readonly block: number; readonly index: number } | null
  /** For `csv`: the header's field names; empty otherwise. */
  readonly columns: readonly string[]
}

/** Numbers of blocks, by field and interval of time. */
export interface AggregateTask {
  readonly kind: 'aggregate'
  /** The blocks, each at a multiple of 8. Transferred, and back again with the result. */
  readonly buffer: ArrayBuffer
  /** Four of each block: byteOffset, byteLength, smallest and largest timestamp as EncodedPage has them. */
  readonly blocks: Float64Array
  /** As in ReadTask. */
  readonly fromMs: number | null
  readonly toMs: number | null
  readonly fields: readonly string[] | null
  /** Whole milliseconds. Interval `i` is `[i, i + 1) * intervalMs` from the epoch on. */
  readonly intervalMs: number
}

/** What some blocks come to. Its arrays have buffers of their own, transferred. */
export interface IntervalPart {
  /** The intervals that have records, by number, in any order. */
  readonly intervals: Float64Array
  /** The fields that have numbers, in the order in which they first appear. */
  readonly fields: readonly string[]
  /** Two of each cell: positions of its interval and of its field. */
  readonly places: Uint32Array
  /** What each cell holds (codecs/telemetry/interval-table.ts). */
  readonly values: Float64Array
}

export interface AggregateResult {
  readonly buffer: ArrayBuffer
  /** Null where it is larger than `limits.downsampleCellsMax`. */
  readonly part: IntervalPart | null
}

/** Puts parts together, in order: as one part, or as the text of a reply. */
export interface CombineTask {
  readonly kind: 'combine'
  readonly parts: readonly IntervalPart[]
  readonly intervalMs: number
  /** Null: as a part. */
  readonly format: ReadFormat | null
}

export type CombineResult =
  | { readonly kind: 'part'; readonly part: IntervalPart }
  /** UTF-8, own buffer, transferred: interval objects joined by commas, lines, or CSV without its header. */
  | { readonly kind: 'text'; readonly bytes: Uint8Array }
  /** There are more than `limits.downsampleCellsMax`, or longer text than `downsampleTextBytesMax`. */
  | { readonly kind: 'too-large' }

/**
 * Pushed frames of one session, in order: which of them become atoms, and as what. What is to be known
 * of the frames before them is in `state`, so a session's tasks follow each other, on whichever thread.
 */
export interface SelectTask {
  readonly kind: 'select'
  readonly settings: FrameSettings
  /** `state` of the result before; null at the beginning. */
  readonly state: Uint8Array | null
  readonly frames: readonly {
    /** JPEG, a buffer of its own, transferred; null where `selectNeedsBytes` says that none is needed. */
    readonly bytes: Uint8Array | null
    /** When it was taken, milliseconds since the epoch. */
    readonly atMs: number
  }[]
}

export interface SelectedFrame {
  /** Position in the task's `frames`. */
  readonly index: number
  /** The frame encoded anew, in the result's buffer; null where it stays as it was pushed. */
  readonly encoded: {
    readonly byteOffset: number
    readonly byteLength: number
    /** SHA-256, 32 bytes. */
    readonly hash: Uint8Array
    readonly width: number
    readonly height: number
  } | null
  /** Why it was taken: mode, sourceFrame (from 0, in the session), score and threshold where there are. */
  readonly metadata: Readonly<Record<string, string | number | null>>
}

export interface SelectResult {
  readonly state: Uint8Array
  /** Transferred. */
  readonly buffer: ArrayBuffer
  readonly selected: readonly SelectedFrame[]
}

/**
 * New buffers of one session, in order: where its audio is to be cut. Each is looked at once; the cutting
 * itself is another task, because only then the bytes since the cut before are needed.
 */
export interface AnalyseTask {
  readonly kind: 'analyse'
  readonly settings: SegmentSettings
  /** `state` of the result before; null at the beginning. */
  readonly state: Uint8Array | null
  readonly buffers: readonly {
    /** A WAV file that readWav has found sound, a buffer of its own, transferred. */
    readonly bytes: Uint8Array
    readonly atMs: number
  }[]
  /** No more audio comes: what is left becomes the last segment. */
  readonly isEnd: boolean
}

/** Samples `[startSample, endSample)` of a run of audio without gap or change of format. */
export interface AudioCut {
  /** Counts the runs of a session or file, from 0. */
  readonly run: number
  readonly startSample: number
  readonly endSample: number
  readonly reason: CutReason
  /** What was compared with the threshold, null where the reason is no measurement. */
  readonly score: number | null
  readonly threshold: number | null
  /** The silence that it was cut in, in samples of the run. */
  readonly silence: { readonly startSample: number; readonly endSample: number } | null
  /** When its first sample was taken and its last one ended, milliseconds since the epoch with fraction. */
  readonly fromMs: number
  readonly toMs: number
}

export interface AnalyseResult {
  readonly state: Uint8Array
  /** Of each buffer of the task: where its samples stand. */
  readonly places: readonly {
    readonly run: number
    readonly startSample: number
    readonly samples: number
  }[]
  readonly cuts: readonly AudioCut[]
}

/** Cuts segments out of buffers that hold them whole. */
export interface CutTask {
  readonly kind: 'cut'
  readonly mode: SegmentSettings['mode']
  readonly cuts: readonly AudioCut[]
  /** In order; all samples of the cuts are in them. */
  readonly buffers: readonly {
    /** A WAV file, a buffer of its own, transferred. */
    readonly bytes: Uint8Array
    readonly run: number
    readonly startSample: number
  }[]
}

export interface CutResult {
  /** The segments, WAV files one after the other. Transferred. */
  readonly buffer: ArrayBuffer
  /** One per cut. */
  readonly items: readonly MediaItem[]
}

/** Takes a spooled file apart, on a thread of its own that tells by MediaMessages what comes of it. */
export interface MediaTask {
  /** Of the spooled file. */
  readonly path: string
  readonly byteLength: number
  readonly type: MediaType
  readonly ffmpeg: FfmpegBinary | null
  readonly settings: FrameSettings | SegmentSettings
  /** When the first frame or sample was taken, milliseconds since the epoch. */
  readonly beginsAtMs: number
  /** What is stored already. */
  readonly checkpoint: MediaCheckpoint
  /** From now on; then everything is ended with MEDIA_TIMEOUT. */
  readonly deadlineMs: number
}

/** What a media task tells while it runs. */
export type MediaMessage =
  /** The file is what it claims to be; `itemsTotal` are its frames or samples, as far as it tells. */
  | {
      readonly kind: 'validated'
      readonly itemsTotal: number | null
      readonly description: string
    }
  | { readonly kind: 'progress'; readonly position: number }
  /** Atoms in order. No more than `limits.mediaChunksInFlightMax` of them are unanswered at a time. */
  | {
      readonly kind: 'chunk'
      /** Transferred. */
      readonly buffer: ArrayBuffer
      readonly items: readonly MediaItem[]
      /** Once this chunk is stored. */
      readonly checkpoint: MediaCheckpoint
    }
  /** The last message. All chunks are sent by then, not all of them stored. */
  | { readonly kind: 'result'; readonly result: MediaResult }

/** What a media task is told: a chunk is stored; stop now. */
export type MediaCommand = { readonly kind: 'stored' } | { readonly kind: 'cancel' }

/** How a media task ended. */
export type MediaResult =
  | { readonly kind: 'done'; readonly position: number }
  | { readonly kind: 'cancelled'; readonly position: number }
  | {
      readonly kind: 'failed'
      readonly code: MediaErrorCode
      readonly message: string
      readonly details: string
      /** Frames or samples that were good before it; null where it failed before the first. */
      readonly position: number | null
    }

export type WorkerTask =
  | DecodeTask
  | MergeTask
  | ReadTask
  | AggregateTask
  | CombineTask
  | SelectTask
  | AnalyseTask
  | CutTask
export interface TaskResults {
  decode: DecodeResult
  merge: EncodedPage
  read: ReadResult
  aggregate: AggregateResult
  combine: CombineResult
  select: SelectResult
  analyse: AnalyseResult
  cut: CutResult
}
