/** What a detector knows, as bytes: numbers as doubles, byte strings with their length. */
export class StateWriter {
  readonly #parts: Uint8Array[] = []

  number(value: number): this {
    this.#parts.push(new Uint8Array(Float64Array.of(value).buffer))
    return this
  }

  numbers(values: Iterable<number>): this {
    return this.bytes(new Uint8Array(Float64Array.from(values).buffer))
  }

  bytes(bytes: Uint8Array): this {
    this.number(bytes.byteLength)
    this.#parts.push(bytes)
    return this
  }

  /** In a buffer of its own. */
  finish(): Uint8Array {
    const length = this.#parts.reduce((sum, { byteLength }) => sum + byteLength, 0)
    const state = new Uint8Array(length)
    let at = 0
    for (const part of this.#parts) {
      state.set(part, at)
      at += part.byteLength
    }
    return state
  }
}

/** Reads what a StateWriter wrote, in the same order. Throws where the bytes end too early. */
export class StateReader {
  readonly #state: Uint8Array
  #at = 0

  constructor(state: Uint8Array) {
    this.#state = state
  }

  number(): number {
    return new DataView(this.#take(8).buffer).getFloat64(0, true)
  }

  numbers(): Float64Array {
    return new Float64Array(this.bytes().buffer)
  }

  /** In a buffer of its own. */
  bytes(): Uint8Array<ArrayBuffer> {
    return this.#take(this.number())
  }

  #take(length: number): Uint8Array<ArrayBuffer> {
    const end = this.#at + length
    if (!(length >= 0 && end <= this.#state.byteLength)) throw new Error('the state is cut off')
    const bytes = Uint8Array.from(this.#state.subarray(this.#at, end))
    this.#at = end
    return bytes
  }
}
