import { ApiKeyRepository } from './api-keys.ts'
import { AtomRepository } from './atoms.ts'
import { BlobRepository } from './blobs.ts'
import type { Database } from './database.ts'
import { EventRepository } from './events.ts'
import { JournalRepository } from './journal.ts'
import { RejectedRepository } from './rejected.ts'
import { SchemaRepository } from './schemas.ts'
import { SessionRepository } from './sessions.ts'

/** One of each kind of row, over one database: what reads it and what says how it is written. */
export class Repositories {
  readonly sessions: SessionRepository
  readonly atoms: AtomRepository
  readonly blobs: BlobRepository
  readonly journal: JournalRepository
  readonly events: EventRepository
  readonly rejected: RejectedRepository
  readonly schemas: SchemaRepository
  readonly apiKeys: ApiKeyRepository

  constructor(database: Database) {
    this.sessions = new SessionRepository(database)
    this.atoms = new AtomRepository(database)
    this.blobs = new BlobRepository(database)
    this.journal = new JournalRepository(database)
    this.events = new EventRepository(database)
    this.rejected = new RejectedRepository(database)
    this.schemas = new SchemaRepository(database)
    this.apiKeys = new ApiKeyRepository(database)
  }
}
