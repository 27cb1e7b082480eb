import type { StartSession } from '../../src/contracts/http.ts'
import type { CargoKind } from './cargo.ts'

/** An upload of the items `first` to `first + count - 1`. */
export interface Upload {
  readonly key: string
  readonly first: number
  readonly count: number
  /**
   * `acknowledged`: all of it must be there, once. `refused`: none of it may be. `open`: nobody knows
   * yet; its sender goes on asking.
   */
  outcome: 'open' | 'acknowledged' | 'refused'
}

export interface Tenant {
  readonly number: number
  readonly key: string
}

/** What a client knows of one session: all that it has sent, and what it was told. */
export class Ledger {
  readonly uploads: Upload[] = []
  /** Jobs that uploads were given. */
  readonly jobs = new Set<string>()
  /** Set once the session is known to have ended. */
  finalHash: string | null = null
  #next = 0

  constructor(
    readonly tenant: Tenant,
    readonly kind: CargoKind,
    readonly sessionId: string,
    readonly settings: StartSession,
  ) {}

  get path(): string {
    return `/api/streaming/sessions/${this.sessionId}`
  }

  /** The next `count` items, under a key of their own. */
  take(count: number): Upload {
    const first = this.#next
    this.#next += count
    const upload: Upload = { key: `items-${first}`, first, count, outcome: 'open' }
    this.uploads.push(upload)
    return upload
  }

  with(outcome: Upload['outcome']): Upload[] {
    return this.uploads.filter((upload) => upload.outcome === outcome)
  }

  get acknowledgedItems(): number {
    return this.with('acknowledged').reduce((sum, { count }) => sum + count, 0)
  }
}
