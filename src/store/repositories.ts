import { ApiKeyRepository } from './api-keys.ts'
import { AtomRepository } from './atoms.ts'
import { BlobRepository } from './blobs.ts'
import type { Tables } from './database.ts'
import { DeadLetterRepository } from './dead-letters.ts'
import { EventRepository } from './events.ts'
import { IdempotencyRepository } from './idempotency.ts'
import { JobRepository } from './jobs.ts'
import { JournalRepository } from './journal.ts'
import { MemoryRepository } from './memories.ts'
import { RejectedRepository } from './rejected.ts'
import { RetryRepository } from './retries.ts'
import { SchemaRepository } from './schemas.ts'
import { SessionRepository } from './sessions.ts'
import { StreamRepository } from './streams.ts'
import { TenantRepository } from './tenants.ts'

/** One of each kind of row, over one set of tables: what reads it and what says how it is written. */
export class Repositories {
  readonly sessions: SessionRepository
  readonly atoms: AtomRepository
  readonly blobs: BlobRepository
  readonly retries: RetryRepository
  readonly deadLetters: DeadLetterRepository
  readonly journal: JournalRepository
  readonly jobs: JobRepository
  readonly streams: StreamRepository
  readonly idempotency: IdempotencyRepository
  readonly tenants: TenantRepository
  readonly events: EventRepository
  readonly rejected: RejectedRepository
  readonly schemas: SchemaRepository
  readonly apiKeys: ApiKeyRepository
  readonly memories: MemoryRepository

  constructor(tables: Tables) {
    this.sessions = new SessionRepository(tables)
    this.atoms = new AtomRepository(tables)
    this.blobs = new BlobRepository(tables)
    this.retries = new RetryRepository(tables)
    this.deadLetters = new DeadLetterRepository(tables)
    this.journal = new JournalRepository(tables, this.retries, this.deadLetters)
    this.jobs = new JobRepository(tables)
    this.streams = new StreamRepository(tables)
    this.idempotency = new IdempotencyRepository(tables)
    this.tenants = new TenantRepository(tables)
    this.events = new EventRepository(tables, this.tenants)
    this.rejected = new RejectedRepository(tables)
    this.schemas = new SchemaRepository(tables)
    this.apiKeys = new ApiKeyRepository(tables)
    this.memories = new MemoryRepository(tables, this.tenants)
  }
}
