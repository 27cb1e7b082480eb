import { AskedProcess } from './asked-process.ts'
import type { LoadRequest, LoadResults } from './messages.ts'

/** The load process (load.ts) behind one typed call. */
export class LoadProcess extends AskedProcess<LoadRequest, LoadResults> {
  constructor() {
    super(new URL('./load.js', import.meta.url), 'the load process')
  }
}
