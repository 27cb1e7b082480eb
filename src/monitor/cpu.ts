import { availableParallelism } from 'node:os'
import { limits } from '../limits.ts'

/** What the process takes of all cores, its threads included. */
export class CpuMeter {
  readonly #cores = availableParallelism()
  #sinceMs = performance.now()
  #before = process.cpuUsage()
  #percent = 0

  /**
   * Percent since the last reading or, where that was just now, what it was then: a shorter look
   * says more about the moment than about the process.
   */
  read(): number {
    const nowMs = performance.now()
    const elapsedMs = nowMs - this.#sinceMs
    if (elapsedMs < limits.healthCheckIntervalMs) return this.#percent
    const { user, system } = process.cpuUsage(this.#before)
    const usedMs = (user + system) / 1_000
    this.#percent = Math.min(100, (100 * usedMs) / (elapsedMs * this.#cores))
    this.#sinceMs = nowMs
    this.#before = process.cpuUsage()
    return this.#percent
  }
}
