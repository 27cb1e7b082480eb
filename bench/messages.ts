import type { BodySpec } from './bodies.ts'
import type { LatencySummary } from './statistics.ts'

/** What the bench asks of its load process, and what it is answered: plain data over IPC. */

/** Every connection sends its next upload as soon as it has the last one's reply. */
export interface SaturatingPace {
  readonly kind: 'saturate'
  readonly warmUpMs: number
  readonly measureMs: number
  /** Ends the run before its time. */
  readonly uploadsMax: number
}

/** Uploads are due at fixed times, whatever became of those before. */
export interface PacedPace {
  readonly kind: 'paced'
  /** Before the first is due, every connection sends for so long, uncounted. */
  readonly warmUpMs: number
  readonly uploadsPerSecond: number
  readonly uploads: number
}

export type Pace = SaturatingPace | PacedPace

export interface RunSpec {
  readonly body: BodySpec
  readonly connections: number
  /** Uploads go to so many sessions in turn; one where it is not given. */
  readonly sessions?: number
  readonly pace: Pace
  readonly session: {
    readonly sessionType: 'telemetry' | 'video' | 'audio'
    readonly batchSize: number
    readonly verify?: 'structure' | 'pixels'
  }
  /**
   * Whether every upload must be processed before its reply, or may also be queued in the
   * journal.
   */
  readonly expect: 'processed' | 'processed-or-queued'
}

export interface RunResult {
  /** Records, frames or buffers a second, acknowledged within the measured time. */
  readonly recordsPerSecond: number
  readonly bytesPerSecond: number
  /** Of the measured uploads: from the send, or from when the upload was due. */
  readonly latency: LatencySummary
  /** All of the run, warm-up included. */
  readonly acknowledgedUploads: number
  readonly acknowledgedRecords: number
  readonly readBack: ReadBack
}

/** What was compared with the store after the run. The run is good where `mismatches` is empty. */
export interface ReadBack {
  readonly recordsCounted: number
  readonly recordsCompared: number
  readonly blobsCompared: number
  readonly mismatches: readonly string[]
}

export interface SinkResult {
  readonly requestsPerSecond: number
  readonly recordsPerSecond: number
  readonly bytesPerSecond: number
}

export type LoadRequest =
  | {
      readonly kind: 'run'
      readonly baseUrl: string
      readonly apiKey: string
      readonly run: RunSpec
    }
  /** Drives a server that reads and does nothing: what the load process alone can do. */
  | {
      readonly kind: 'client'
      readonly body: BodySpec
      readonly connections: number
      readonly measureMs: number
    }
  /** Writes the same bytes to a file, with fdatasync for each upload. */
  | {
      readonly kind: 'disk'
      readonly body: BodySpec
      readonly folder: string
      readonly uploadsMax: number
      readonly measureMs: number
    }
  /** Parses texts of new bodies of the same kind, on the one thread of the load process. */
  | { readonly kind: 'parse'; readonly body: BodySpec; readonly measureMs: number }
  /** Sends one GET again and again. */
  | {
      readonly kind: 'gets'
      readonly url: string
      readonly connections: number
      readonly pace: SaturatingPace
    }
  /** Writes the same records to a server that answers 204, as InfluxDB does. */
  | {
      readonly kind: 'points'
      readonly url: string
      readonly body: BodySpec
      readonly connections: number
      readonly pace: SaturatingPace
    }
  /** One record a message over one WebSocket. */
  | {
      readonly kind: 'messages'
      readonly baseUrl: string
      readonly apiKey: string
      readonly batchSize: number
      readonly pace: SaturatingPace
    }
  /** As `run`, of a session that is to be read. */
  | {
      readonly kind: 'fill'
      readonly baseUrl: string
      readonly apiKey: string
      readonly run: RunSpec
    }
  /** Reads a filled session whole, as aggregates of each minute. */
  | {
      readonly kind: 'aggregates'
      readonly baseUrl: string
      readonly apiKey: string
      readonly filled: FilledSession
    }
  /** The same as NDJSON. */
  | {
      readonly kind: 'lines'
      readonly baseUrl: string
      readonly apiKey: string
      readonly filled: FilledSession
    }

/** A session of telemetry and what it holds. */
export interface FilledSession {
  readonly sessionId: string
  readonly firsts: readonly number[]
  readonly uploadRecords: number
}

export interface FillResult extends RunResult {
  readonly filled: FilledSession
}

/** Uploads or requests that were answered within the measured time. */
export interface RequestsResult {
  readonly requestsPerSecond: number
  readonly recordsPerSecond: number
  readonly latency: LatencySummary
  /** All that was acknowledged, warm-up included. */
  readonly acknowledgedRecords: number
}

export interface ReadingResult {
  readonly recordsPerSecond: number
  readonly bytesPerSecond: number
  readonly readBack: ReadBack
}

export interface DiskResult {
  readonly recordsPerSecond: number
  readonly bytesPerSecond: number
  readonly latency: LatencySummary
}

export interface LoadResults {
  run: RunResult
  client: SinkResult
  disk: DiskResult
  /** Records a second. */
  parse: number
  gets: RequestsResult
  points: RequestsResult
  messages: RunResult
  fill: FillResult
  aggregates: ReadingResult
  lines: ReadingResult
}

export type LoadReply =
  | { readonly ok: true; readonly result: LoadResults[keyof LoadResults] }
  | { readonly ok: false; readonly error: string }
