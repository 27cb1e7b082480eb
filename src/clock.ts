/**
 * Time as the parts that wait for it see it: retries, expiry and retention. A test brings a clock that it
 * winds itself.
 */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number
  /** Calls back once, `delayMs` from now or later. */
  after(delayMs: number, callback: () => void): Alarm
}

export interface Alarm {
  cancel(): void
}

/** setTimeout takes no more than this: a longer wait goes off at once. */
const delayMsMax = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => Date.now(),
  after: (delayMs, callback) => {
    const timer = setTimeout(callback, Math.min(Math.max(0, delayMs), delayMsMax))
    return { cancel: () => clearTimeout(timer) }
  },
}

/** What the promise comes to, or null where that takes longer; rejects where it does in time. */
export async function settledWithin<T>(
  clock: Clock,
  promise: Promise<T>,
  timeoutMs: number,
): Promise<T | null> {
  let tellLate = () => {}
  const late = new Promise<null>((resolve) => {
    tellLate = () => resolve(null)
  })
  const alarm = clock.after(timeoutMs, tellLate)
  try {
    return await Promise.race([promise, late])
  } finally {
    alarm.cancel()
  }
}
