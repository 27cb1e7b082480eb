import { AskedProcess } from './asked-process.ts'

export interface DecodesRequest {
  readonly kind: 'decodes'
  readonly threads: number
  readonly warmUpMs: number
  readonly measureMs: number
}

export interface DecodesResults {
  /** Decodes a second of all threads together. */
  decodes: number
}

/** Bare decodes of the bench's small frames, in a process of their own (decodes-process.ts). */
export class Decodes extends AskedProcess<DecodesRequest, DecodesResults> {
  constructor() {
    super(new URL('./decodes-process.js', import.meta.url), 'the process of bare decodes')
  }
}
