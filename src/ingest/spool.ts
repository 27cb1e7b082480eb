import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { close, fdatasync, openSync, statfsSync, write, writeSync } from 'node:fs'
import { open, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Refusal, retryLater } from '../contracts/errors.ts'
import { limits } from '../limits.ts'
import { makeFolder } from '../store/folders.ts'

/** What a writer does to its file. A write may take less than it is given, and gives how much. */
export interface SpoolHandle {
  write(bytes: Uint8Array, from: number, length: number, position: number): Promise<number>
  writeNow(bytes: Uint8Array, from: number, length: number, position: number): number
  datasync(): Promise<void>
  close(): Promise<void>
}

export interface SpoolOptions {
  /** Made where it is missing. Whatever else stands in it is removed at start. */
  readonly folder: string
  /** Bound of all files together. */
  readonly bytesMax: number
  readonly fileBytesMax: number
  /** Opens a new file for writing; a test brings a slow or a full disk. */
  readonly openFile?: (path: string) => SpoolHandle
}

/** A file that is whole and on disk. */
export interface SpooledFile {
  readonly id: string
  readonly path: string
  readonly bytes: number
  /** SHA-256 of the file, 32 bytes. */
  readonly hash: Uint8Array
}

/** What a file takes of the spool: what was announced of it, or more where more has come. */
interface Share {
  claimedBytes: number
  writtenBytes: number
}

const idPattern = /^spool-[0-9a-f]{32}$/

/**
 * Uploaded files on their way to a job. A file belongs to its writer until that has finished it, and
 * then to whoever asked for it; a process that dies leaves files that the next start removes, where
 * no job names them.
 */
export class Spool {
  readonly folder: string
  readonly fileBytesMax: number
  readonly #bytesMax: number
  readonly #openFile: (path: string) => SpoolHandle
  readonly #shares = new Map<string, Share>()
  readonly #writers = new Set<SpoolWriter>()
  /** Blocks to be used again. */
  readonly #blocks: Buffer[] = []
  #usedBytes = 0
  #closed = false

  private constructor(options: SpoolOptions) {
    this.folder = options.folder
    this.fileBytesMax = options.fileBytesMax
    this.#bytesMax = options.bytesMax
    this.#openFile = options.openFile ?? ((path) => new SpoolDisk(path))
  }

  static async open(options: SpoolOptions): Promise<Spool> {
    makeFolder(options.folder)
    return new Spool(options)
  }

  /** Bytes of all files, announced ones included. */
  get usedBytes(): number {
    return this.#usedBytes
  }

  path(id: string): string {
    assert(idPattern.test(id), 'the name of a spooled file is one that the spool gave')
    return join(this.folder, id)
  }

  /**
   * Removes every file that is not named, and counts the bytes of those that stay. For the start,
   * before anything is written.
   */
  async sweep(keep: ReadonlySet<string>): Promise<void> {
    assert(this.#writers.size === 0, 'the spool is swept before it is written to')
    for (const name of await readdir(this.folder)) {
      const path = join(this.folder, name)
      if (!keep.has(name)) {
        await rm(path, { recursive: true, force: true })
        continue
      }
      const { size } = await stat(path)
      this.#setShare(name, { claimedBytes: 0, writtenBytes: size })
    }
  }

  /**
   * A new file. Throws Refusal `BODY_TOO_LARGE`, `STORE_FULL` where the disk has no room for what is
   * announced, and `SATURATED` where the spool has none.
   */
  create(expectedBytes: number | null): SpoolWriter {
    if (this.#closed) throw retryLater('SHUTTING_DOWN')
    const claimedBytes = expectedBytes ?? 0
    this.requireFileBytes(claimedBytes)
    this.requireDisk(claimedBytes)
    const id = `spool-${randomBytes(16).toString('hex')}`
    this.#requireRoom(claimedBytes)
    const path = this.path(id)
    const handle = this.#openFile(path)
    this.#setShare(id, { claimedBytes, writtenBytes: 0 })
    const onEnded = (): void => {
      this.#writers.delete(writer)
    }
    const writer = new SpoolWriter(this, { id, path, handle, onEnded })
    this.#writers.add(writer)
    return writer
  }

  async remove(id: string): Promise<void> {
    await rm(this.path(id), { force: true })
    this.#setShare(id, null)
  }

  /** Takes no new files and drops those that are not whole. Idempotent. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.allSettled([...this.#writers].map((writer) => writer.abort()))
  }

  /** Throws Refusal `BODY_TOO_LARGE`. */
  requireFileBytes(bytes: number): void {
    if (bytes <= this.fileBytesMax) return
    throw new Refusal('BODY_TOO_LARGE', {
      message: 'The file is larger than this server takes',
      fields: { maxBytes: this.fileBytesMax },
    })
  }

  /**
   * Throws Refusal `STORE_FULL` where so many bytes would leave the disk less than the store is to have.
   * A call takes some microseconds.
   */
  requireDisk(bytes: number): void {
    const { bavail, bsize } = statfsSync(this.folder)
    if (bavail * bsize - bytes < limits.spoolReserveBytes) throw new Refusal('STORE_FULL')
  }

  /** More has come of a file. Throws Refusal `SATURATED` where the spool has no room for it. */
  grow(id: string, bytes: number): void {
    const { claimedBytes, writtenBytes } = this.#share(id)
    const beyondBytes = Math.max(0, writtenBytes + bytes - Math.max(claimedBytes, writtenBytes))
    this.#requireRoom(beyondBytes)
    this.#setShare(id, { claimedBytes, writtenBytes: writtenBytes + bytes })
  }

  /** Room that was announced and is not used goes to whoever comes first. */
  unclaim(id: string): void {
    this.#setShare(id, { ...this.#share(id), claimedBytes: 0 })
  }

  takeBlock(): Buffer {
    return this.#blocks.pop() ?? Buffer.allocUnsafeSlow(limits.spoolBlockBytes)
  }

  giveBlock(bytes: Buffer): void {
    if (this.#blocks.length < limits.spoolBlocksKeptMax) this.#blocks.push(bytes)
  }

  #share(id: string): Share {
    const share = this.#shares.get(id)
    assert(share !== undefined, 'a file that is written has its share')
    return share
  }

  #requireRoom(bytes: number): void {
    if (this.#usedBytes + bytes <= this.#bytesMax) return
    // Room comes when a job ends, which takes longer than what else is told to wait for.
    throw retryLater('SATURATED', limits.retryAfterSMax)
  }

  #setShare(id: string, share: Share | null): void {
    this.#usedBytes += sizeOf(share) - sizeOf(this.#shares.get(id) ?? null)
    if (share === null) this.#shares.delete(id)
    else this.#shares.set(id, share)
  }
}

function sizeOf(share: Share | null): number {
  return share === null ? 0 : Math.max(share.claimedBytes, share.writtenBytes)
}

const promises = {
  write: promisify(write),
  fdatasync: promisify(fdatasync),
  close: promisify(close),
}

/** A new file of the disk, never over what is there. Throws what the disk says. */
export class SpoolDisk implements SpoolHandle {
  readonly #file: number

  constructor(path: string) {
    this.#file = openSync(path, 'wx', 0o600)
  }

  async write(bytes: Uint8Array, from: number, length: number, position: number): Promise<number> {
    return (await promises.write(this.#file, bytes, from, length, position)).bytesWritten
  }

  writeNow(bytes: Uint8Array, from: number, length: number, position: number): number {
    return writeSync(this.#file, bytes, from, length, position)
  }

  datasync(): Promise<void> {
    return promises.fdatasync(this.#file)
  }

  close(): Promise<void> {
    return promises.close(this.#file)
  }
}

/** Chunks that are on their way to the disk, in a buffer of their own. */
interface Block {
  readonly bytes: Buffer
  /** Where in the file it goes. */
  readonly position: number
  used: number
}

/**
 * One file on its way in. Chunks are copied and written in order, one write at a time; the caller sees
 * by `heldBytes` how far the disk is behind, and holds its client back.
 */
export class SpoolWriter {
  /** Called when a write has ended: fewer bytes are held. */
  onDrained: () => void = () => {}
  /** Called once, where the file cannot be written. */
  onFailed: (error: unknown) => void = () => {}
  readonly id: string
  readonly path: string
  readonly #spool: Spool
  readonly #handle: SpoolHandle
  readonly #onEnded: () => void
  readonly #hash = createHash('sha256')
  readonly #blocks: Block[] = []
  #heldBytes = 0
  #bytes = 0
  #failure: { readonly error: unknown } | null = null
  #ended = false
  #aborting: Promise<void> | null = null
  #closing: Promise<void> | null = null
  /** Resolves when nothing is being written; rejects never. */
  #writing: Promise<void> | null = null

  constructor(
    spool: Spool,
    file: { id: string; path: string; handle: SpoolHandle; onEnded: () => void },
  ) {
    this.#spool = spool
    this.id = file.id
    this.path = file.path
    this.#handle = file.handle
    this.#onEnded = file.onEnded
  }

  /** Bytes that wait for the disk. */
  get heldBytes(): number {
    return this.#heldBytes
  }

  /**
   * Copies the chunk; who brings more than may be held waits here for the disk. Throws Refusal
   * `BODY_TOO_LARGE`, `SATURATED` or `STORE_FULL`, and whatever else the disk has said.
   */
  write(chunk: Uint8Array): void {
    assert(!this.#ended, 'a file that has ended is not written')
    if (this.#failure !== null) throw this.#failure.error
    this.#spool.requireFileBytes(this.#bytes + chunk.byteLength)
    this.#spool.grow(this.id, chunk.byteLength)
    this.#gather(chunk)
    this.#bytes += chunk.byteLength
    this.#heldBytes += chunk.byteLength
    this.#writing ??= this.#writeAll()
    if (this.#heldBytes >= limits.spoolHeldBytesMax) this.#writeNow()
  }

  /** What was announced and has not come does not count any more. */
  unclaim(): void {
    if (!this.#ended) this.#spool.unclaim(this.id)
  }

  /** Rejects as `write` throws; the file is gone then. */
  async finish(): Promise<SpooledFile> {
    assert(!this.#ended, 'a file ends once')
    this.#ended = true
    try {
      await this.#writing
      if (this.#failure !== null) throw this.#failure.error
      await this.#handle.datasync()
      await this.#close()
      await syncFolder(this.#spool.folder)
    } catch (error) {
      const isAborted = this.#aborting !== null
      await this.abort()
      throw isAborted ? retryLater('SHUTTING_DOWN') : asRefusal(error)
    }
    if (this.#aborting !== null) throw retryLater('SHUTTING_DOWN')
    this.#spool.unclaim(this.id)
    this.#onEnded()
    return { id: this.id, path: this.path, bytes: this.#bytes, hash: this.#hash.digest() }
  }

  /** Stops and removes the file. Idempotent. */
  abort(): Promise<void> {
    this.#ended = true
    this.#aborting ??= this.#abort()
    return this.#aborting
  }

  async #abort(): Promise<void> {
    this.#blocks.length = 0
    this.#heldBytes = 0
    await this.#writing
    try {
      await this.#spool.remove(this.id)
    } finally {
      await this.#close()
      this.#onEnded()
    }
  }

  /** Once: the number of a closed file may be another's by then. */
  #close(): Promise<void> {
    this.#closing ??= this.#handle.close()
    return this.#closing
  }

  /** Into blocks that are used again: mapping new memory takes longer than the copy. */
  #gather(chunk: Uint8Array): void {
    for (let from = 0; from < chunk.byteLength; ) {
      let block = this.#blocks.at(-1)
      if (block === undefined || block.used === block.bytes.byteLength) {
        block = { bytes: this.#spool.takeBlock(), position: this.#bytes + from, used: 0 }
        this.#blocks.push(block)
      }
      const part = chunk.subarray(from, from + block.bytes.byteLength - block.used)
      block.bytes.set(part, block.used)
      block.used += part.byteLength
      from += part.byteLength
    }
  }

  async #writeAll(): Promise<void> {
    // The turn that brings chunks copies them and no more: the faster it is, the sooner a read comes back
    // short, and the library with it.
    await new Promise(setImmediate)
    try {
      for (let block = this.#next(); block !== undefined; block = this.#next()) {
        for (let from = 0; from < block.used; ) {
          const { bytes, position, used } = block
          from += await this.#handle.write(bytes, from, used - from, position + from)
        }
        if (this.#aborting !== null) return
        this.#written(block)
      }
    } catch (error) {
      this.#fail(error)
    } finally {
      this.#writing = null
    }
  }

  /**
   * All that is not on its way already, so that the next chunks are only copied again: else the reads
   * would stay as slow as the disk, and come back full until the end of the file. Throws what the disk
   * says.
   */
  #writeNow(): void {
    try {
      for (let block = this.#next(); block !== undefined; block = this.#next()) {
        for (let from = 0; from < block.used; ) {
          const { bytes, position, used } = block
          from += this.#handle.writeNow(bytes, from, used - from, position + from)
        }
        this.#written(block)
      }
    } catch (error) {
      this.#fail(error)
      throw asRefusal(error)
    }
  }

  #next(): Block | undefined {
    const block = this.#blocks.shift()
    if (block === undefined) return undefined
    this.#spool.requireDisk(block.used)
    this.#hash.update(block.bytes.subarray(0, block.used))
    return block
  }

  #written({ bytes, used }: Block): void {
    this.#spool.giveBlock(bytes)
    this.#heldBytes -= used
    this.onDrained()
  }

  #fail(error: unknown): void {
    if (this.#failure !== null || this.#aborting !== null) return
    this.#failure = { error: asRefusal(error) }
    this.#blocks.length = 0
    this.onFailed(this.#failure.error)
  }
}

/** A file is only there for good once its folder says so. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

function asRefusal(error: unknown): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : null
  return code === 'ENOSPC' || code === 'EDQUOT' ? new Refusal('STORE_FULL') : error
}
