import { closeSync, openSync, writeSync } from 'node:fs'
import { SpoolDisk, type SpoolHandle } from '../../src/ingest/spool.ts'

/** Real files whose writes take a while. */
export class SlowDisk extends SpoolDisk {
  constructor(
    path: string,
    private readonly beforeWrite: () => Promise<unknown>,
  ) {
    super(path)
  }

  override async write(bytes: Uint8Array, from: number, length: number, position: number) {
    await this.beforeWrite()
    // As a disk may, it takes less than it is given.
    return super.write(bytes, from, Math.min(length, 300_000), position)
  }
}

/** The kernel's own full disk: every write fails with ENOSPC. */
export class FullDisk implements SpoolHandle {
  readonly #file = openSync('/dev/full', 'w')

  async write(bytes: Uint8Array, from: number, length: number): Promise<number> {
    return this.writeNow(bytes, from, length)
  }

  writeNow(bytes: Uint8Array, from: number, length: number): number {
    return writeSync(this.#file, bytes, from, length, null)
  }

  async datasync(): Promise<void> {}

  async close(): Promise<void> {
    closeSync(this.#file)
  }
}
