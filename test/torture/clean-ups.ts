import type { Scope } from '../support/server.ts'

/** What one run of a fault has started, ended in reverse when the run is over, however it went. */
export class CleanUps implements Scope {
  readonly #cleanUps: (() => unknown)[] = []

  after(cleanUp: () => unknown): void {
    this.#cleanUps.push(cleanUp)
  }

  /** Every clean-up runs, also where one fails; then the first failure is thrown. */
  async run(): Promise<void> {
    const failures: unknown[] = []
    for (const cleanUp of this.#cleanUps.splice(0).reverse()) {
      try {
        await cleanUp()
      } catch (error) {
        failures.push(error)
      }
    }
    if (failures.length > 0) throw failures[0]
  }
}
