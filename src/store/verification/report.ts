/** One thing that is not as it has to be. */
export interface Damage {
  /** What is damaged: `blob`, `atom`, `session`, `event`, …; `file` where LMDB cannot read on. */
  readonly kind: string
  /** Which one: tenant, session, seq, hash, whatever names it. */
  readonly where: Readonly<Record<string, string | number>>
  readonly expected: string
  readonly found: string
}

/** What was gone over. */
export interface VerificationCounts {
  sessions: number
  atomRows: number
  atoms: number
  blobs: number
  blobBytes: number
  journalEntries: number
  pendingBuffers: number
  rejected: number
  events: number
  memories: number
  deadLetters: number
  jobs: number
  idempotencyAnswers: number
  schemas: number
  apiKeys: number
}

export interface VerificationSummary {
  readonly sound: boolean
  /** How many things are damaged; each was told as it was found. */
  readonly damages: number
  readonly counts: VerificationCounts
  readonly durationMs: number
}

/** What the process that reads the store tells, one JSON line each. */
export type VerificationMessage =
  | { readonly kind: 'part'; readonly part: string }
  | { readonly kind: 'damage'; readonly damage: Damage }
  | { readonly kind: 'end'; readonly counts: VerificationCounts }
  /** There is nothing that could be gone over. */
  | { readonly kind: 'failed'; readonly message: string }

export function noCounts(): VerificationCounts {
  return {
    sessions: 0,
    atomRows: 0,
    atoms: 0,
    blobs: 0,
    blobBytes: 0,
    journalEntries: 0,
    pendingBuffers: 0,
    rejected: 0,
    events: 0,
    memories: 0,
    deadLetters: 0,
    jobs: 0,
    idempotencyAnswers: 0,
    schemas: 0,
    apiKeys: 0,
  }
}

/** `blob, tenant 0, hash ab…: expected x, found y`. */
export function damageText({ kind, where, expected, found }: Damage): string {
  const names = Object.entries(where).map(([name, value]) => `, ${name} ${value}`)
  return `${kind}${names.join('')}: expected ${expected}, found ${found}`
}
