import type { Alarm, Clock } from '../clock.ts'
import { limits } from '../limits.ts'
import type { Logger } from '../log.ts'
import type { Store, Transaction, UntoldKey } from '../store/interfaces.ts'

/** Keys come and go by the command line, which nobody has to log in for. */
const operator = 'operator'

/**
 * Tells the tenant of each key that it was made or revoked, once: the store remembers what has been
 * told. Another process does it, perhaps while no server runs, so the keys are looked at from the
 * start on and whenever their version has changed.
 */
export class KeyAnnouncer {
  readonly #store: Store
  readonly #clock: Clock
  readonly #log: Logger
  /** Of the keys as they were told last, null where they have to be looked at in any case. */
  #version: number | null = null
  #alarm: Alarm | null = null
  #isClosed = false

  constructor({ store, clock, log }: { store: Store; clock: Clock; log: Logger }) {
    this.#store = store
    this.#clock = clock
    this.#log = log
  }

  /** Resolves once what is there to be told is told, or was refused and is tried again. */
  async start(): Promise<void> {
    await this.#look()
  }

  /** Idempotent. */
  close(): void {
    this.#isClosed = true
    this.#alarm?.cancel()
  }

  /** Never rejects. */
  async #look(): Promise<void> {
    let delayMs: number = limits.keyRefreshMs
    try {
      await this.#tell()
    } catch (error) {
      this.#version = null
      delayMs = limits.storeRetryDelayMsMax
      if (!this.#isClosed) this.#log.warn({ err: error }, 'changes of API keys are not told of yet')
    }
    if (this.#isClosed) return
    this.#alarm = this.#clock.after(delayMs, () => void this.#look())
  }

  async #tell(): Promise<void> {
    const { apiKeys } = this.#store
    // Before the keys: a change between the two reads is seen by the next look.
    const version = apiKeys.version()
    if (version === this.#version) return
    const keys = apiKeys.untold()
    for (let done = 0; done < keys.length; done += limits.announcedKeysMax) {
      const some = keys.slice(done, done + limits.announcedKeysMax)
      await this.#store.commit((transaction) => {
        for (const key of some) tellKey(transaction, key)
      })
    }
    this.#version = version
  }
}

function tellKey(transaction: Transaction, { key, isNew }: UntoldKey): void {
  const { id, tenant, user, scopes, revokedAtMs } = key
  const activity = { user: operator, resourceType: 'key', resourceId: id } as const
  const metadata = { user, scopes }
  if (isNew) transaction.appendActivity(tenant, { ...activity, action: 'create', metadata })
  if (revokedAtMs !== null) {
    transaction.appendActivity(tenant, { ...activity, action: 'revoke', metadata })
  }
  transaction.tellApiKey(key)
}
