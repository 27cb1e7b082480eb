import type { Config } from '../config.ts'
import type { EventHub } from '../events/hub.ts'
import type { DeadLetterService } from '../ingest/dead-letters.ts'
import type { JobService } from '../ingest/job-service.ts'
import type { JobWatch } from '../ingest/job-watch.ts'
import type { MediaJobService } from '../ingest/media-jobs.ts'
import type { RecordAggregator } from '../ingest/record-aggregator.ts'
import type { RecordReader } from '../ingest/record-reader.ts'
import type { SessionService } from '../ingest/sessions.ts'
import type { Spool } from '../ingest/spool.ts'
import type { UploadService } from '../ingest/uploads.ts'
import type { Logger } from '../log.ts'
import type { MemoryService } from '../memories/memories.ts'
import type { MemoryGauge } from '../memory.ts'
import type { Metrics } from '../metrics.ts'
import type { Monitor, Traffic } from '../monitor/interfaces.ts'
import type { Store } from '../store/interfaces.ts'

/** What the composition root hands to the handlers. */
export interface Services {
  readonly config: Config
  readonly log: Logger
  readonly metrics: Metrics
  readonly store: Store
  readonly sessions: SessionService
  readonly uploads: UploadService
  readonly records: RecordReader
  readonly aggregates: RecordAggregator
  readonly deadLetters: DeadLetterService
  readonly spool: Spool
  /** Takes spooled files over as jobs. */
  readonly mediaJobs: MediaJobService
  readonly jobs: JobService
  readonly jobWatch: JobWatch
  readonly hub: EventHub
  readonly memory: MemoryGauge
  readonly memories: MemoryService
  readonly monitor: Monitor
  readonly traffic: Traffic
}
