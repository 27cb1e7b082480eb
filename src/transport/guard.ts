/** Nothing may throw into uWebSockets.js: it would end the process. */
export class Guard {
  constructor(private readonly fault: (error: unknown) => void) {}

  run(callback: () => void): void {
    try {
      callback()
    } catch (error) {
      this.fault(error)
    }
  }
}
