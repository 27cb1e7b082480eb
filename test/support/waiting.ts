import { setTimeout as delay } from 'node:timers/promises'

/** Generous, because a test that waits for an event must fail on a bug, not on a busy machine. */
export const waitTimeoutMs = 15_000

/** Things that arrive one by one, kept in order, and a way to wait for one of them. */
export class Inbox<T> {
  readonly items: T[] = []
  readonly #listeners = new Set<() => void>()
  #ended: Error | null = null

  push(item: T): void {
    this.items.push(item)
    this.#tell()
  }

  /** Nothing comes any more: who waits is told at once. */
  end(reason: string): void {
    this.#ended ??= new Error(reason)
    this.#tell()
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener()
  }

  /** The first item from position `from` on that matches, come or still to come. */
  waitFor(
    matches: (item: T) => boolean,
    what: string,
    { from = 0, timeoutMs = waitTimeoutMs } = {},
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      let position = from
      const look = (): void => {
        while (position < this.items.length) {
          const item = this.items[position] as T
          position += 1
          if (!matches(item)) continue
          finish()
          resolve(item)
          return
        }
        if (this.#ended === null) return
        finish()
        reject(new Error(`${what} did not come: ${this.#ended.message}`))
      }
      const timer = setTimeout(() => {
        finish()
        reject(new Error(`${what} did not come within ${timeoutMs} ms`))
      }, timeoutMs)
      const finish = (): void => {
        clearTimeout(timer)
        this.#listeners.delete(look)
      }
      this.#listeners.add(look)
      look()
    })
  }
}

/** Asks `probe` again and again until it gives something other than undefined. */
export async function eventually<T>(
  probe: () => Promise<T | undefined>,
  what: string,
  timeoutMs = waitTimeoutMs,
): Promise<T> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const found = await probe()
    if (found !== undefined) return found
    if (performance.now() > deadline) throw new Error(`${what} did not come in ${timeoutMs} ms`)
    await delay(25)
  }
}

/** Rejects where `promise` takes longer than it may. */
export async function within<T>(
  promise: Promise<T>,
  what: string,
  timeoutMs = waitTimeoutMs,
): Promise<T> {
  const aborter = new AbortController()
  const late = delay(timeoutMs, undefined, { signal: aborter.signal }).then(() => {
    throw new Error(`${what} did not come within ${timeoutMs} ms`)
  })
  late.catch(() => {})
  try {
    return await Promise.race([promise, late])
  } finally {
    aborter.abort()
  }
}
