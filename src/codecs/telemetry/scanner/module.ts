import { isUtf8 } from 'node:buffer'
import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { copyBytes } from '../../../contracts/body-buffers.ts'
import { limits } from '../../../limits.ts'
import { fieldNameFault } from '../schema.ts'
import { fivesOf, tensOf } from './powers.ts'

/** Of the global that Node has and its types leave out, what is used here. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object
  readonly Instance: new (
    module: object,
    imports: Record<string, Record<string, unknown>>,
  ) => { readonly exports: object }
}

/** What `assembly/index.ts` exports. An address is a global. */
interface ScannerExports {
  readonly memory: { readonly buffer: ArrayBuffer }
  readonly prepare: (bytes: number) => number
  readonly scanUpload: (bytes: number) => number
  readonly scanMessage: (bytes: number) => number
  readonly scanPacked: (bytes: number) => number
  readonly scanRun: (bytes: number, count: number, areMessages: number) => number
  readonly reportAt: { readonly value: number }
  readonly tensAt: { readonly value: number }
  readonly fivesAt: { readonly value: number }
  readonly columnsAt: { readonly value: number }
  readonly millisAt: { readonly value: number }
  readonly microsAt: { readonly value: number }
  readonly messagesAt: { readonly value: number }
  readonly bodyAt: { readonly value: number }
}

export type Entry = 'scanUpload' | 'scanMessage' | 'scanPacked'

const compiled = new WebAssembly.Module(readFileSync(new URL('scanner.wasm', import.meta.url)))
/** Words of a message in `assembly/index.ts`; before them its id as a double. */
export const messageWords = { each: 8, end: 2, records: 3, idKind: 4, idStart: 5, idEnd: 6 }
/** Tables for reading numbers: making them takes a millisecond. */
const tens = tensOf()
const fives = fivesOf()
/** Quotes and a colon; msgpack's heads are shorter. */
const keyExtraBytes = 3

/**
 * The scanner's code with a memory of its own, where bodies are copied to and columns grow. What it read
 * stays there until it reads again.
 */
export class ScannerInstance {
  /** Names by the number of their key. */
  readonly names: string[] = []
  readonly columnsAt: number
  readonly millisAt: number
  readonly microsAt: number
  readonly reportAt: number
  readonly messagesAt: number
  readonly #bodyAt: number
  readonly #exports: ScannerExports
  /** The whole memory; growing takes them away, see `#renew`. */
  bytes = Buffer.alloc(0)
  words = new Uint32Array(0)
  doubles = new Float64Array(0)

  constructor() {
    const { uploadRecordsMax, uploadFieldsMax, uploadValuesMax, recordFieldsMax } = limits
    const { stringValueBytesMax, fieldNameBytesMax, messageIdCharsMax, scannerKeysKept } = limits
    const { runUploadsMax } = limits
    const host = {
      ...{ uploadRecordsMax, uploadFieldsMax, uploadValuesMax, recordFieldsMax },
      ...{ stringValueBytesMax, messageIdCharsMax, scannerKeysKept },
      keyBytesMax: fieldNameBytesMax + keyExtraBytes,
      runUploadsMax: runUploadsMax,
      hashSeed: randomBytes(8).readBigInt64LE(),
      numberOf: (start: number, end: number) => Number(this.#latin1(start, end)),
      takeName: (index: number, start: number, end: number) => this.#takeName(index, start, end),
      isText: (start: number, end: number) => this.#isText(start, end),
    }
    const { exports } = new WebAssembly.Instance(compiled, { host })
    this.#exports = exports as ScannerExports
    this.columnsAt = this.#exports.columnsAt.value
    this.millisAt = this.#exports.millisAt.value
    this.microsAt = this.#exports.microsAt.value
    this.reportAt = this.#exports.reportAt.value
    this.messagesAt = this.#exports.messagesAt.value
    this.#bodyAt = this.#exports.bodyAt.value
    this.#renew()
    this.doubles.set(tens, this.#exports.tensAt.value / 8)
    new BigUint64Array(this.bytes.buffer).set(fives, this.#exports.fivesAt.value / 8)
  }

  get memoryBytes(): number {
    return this.bytes.length
  }

  /** Whether the body is as documented: then `reportAt` tells what was read. */
  scan(body: Uint8Array, entry: Entry): boolean {
    if (this.#exports.prepare(body.length) === 0) return false
    this.#renew()
    copyBytes(body, this.bytes, this.#bodyAt)
    const isScanned = this.#exports[entry](body.length) !== 0
    this.#renew()
    return isScanned
  }

  /** Whether all uploads or messages are as documented: then `messagesAt` tells of each of them too. */
  scanRun(bodies: readonly Uint8Array[], areMessages: boolean): boolean {
    if (bodies.length > limits.runUploadsMax) return false
    const bytes = bodies.reduce((sum, { length }) => sum + length + 1, 0)
    if (this.#exports.prepare(bytes) === 0) return false
    this.#renew()
    let at = this.#bodyAt
    for (const [index, body] of bodies.entries()) {
      copyBytes(body, this.bytes, at)
      at += body.length
      this.bytes[at] = 0
      this.words[this.messageWord(index, messageWords.end)] = at
      at += 1
    }
    const isScanned = this.#exports.scanRun(bytes, bodies.length, areMessages ? 1 : 0) !== 0
    this.#renew()
    return isScanned
  }

  messageWord(index: number, word: number): number {
    return this.messagesAt / 4 + index * messageWords.each + word
  }

  /** Views of a memory that has grown have no bytes. */
  #renew(): void {
    if (this.bytes.length > 0) return
    const { buffer } = this.#exports.memory
    this.bytes = Buffer.from(buffer)
    this.words = new Uint32Array(buffer)
    this.doubles = new Float64Array(buffer)
  }

  #latin1(start: number, end: number): string {
    this.#renew()
    return this.bytes.toString('latin1', start, end)
  }

  #isText(start: number, end: number): boolean {
    this.#renew()
    return isUtf8(this.bytes.subarray(start, end))
  }

  #takeName(index: number, start: number, end: number): boolean {
    if (!this.#isText(start, end)) return false
    const name = this.bytes.toString('utf8', start, end)
    // JSON.parse puts names that are array indexes before all others.
    if (fieldNameFault(name) !== null || /^(0|[1-9]\d*)$/.test(name)) return false
    this.names[index] = name
    return true
  }
}
