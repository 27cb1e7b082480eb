import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import type { Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Spool, type SpooledFile, type SpoolOptions } from '../../src/ingest/spool.ts'
import { limits } from '../../src/limits.ts'
import { BodyBudget, ClientGone } from '../../src/transport/body.ts'
import type { Exchange } from '../../src/transport/exchange.ts'
import { FileReader } from '../../src/transport/file-body.ts'
import type { PaceOptions } from '../../src/transport/pace.ts'
import { UwsServer } from '../../src/transport/uws.ts'
import { SlowDisk } from '../support/slow-disk.ts'
import { eventually, within } from '../support/waiting.ts'
import { rawConnection } from './door.ts'

const MiB = 1024 * 1024
/** uWebSockets.js hands over what one read of the socket gave: 512 KB. */
const readBytesMax = MiB

/** A socket server that spools every body and tells what came of it. */
async function listen(
  t: TestContext,
  { spool: options, pace }: { spool?: Partial<SpoolOptions>; pace?: PaceOptions } = {},
) {
  const folder = await mkdtemp(join(tmpdir(), 'atomstream-files-'))
  const spool = await Spool.open({ folder, bytesMax: 1 << 30, fileBytesMax: 1 << 29, ...options })
  const files: SpooledFile[] = []
  const errors: unknown[] = []
  let heldBytesPeak = 0
  let heldBytes = 0
  const onChange = (bytes: number): void => {
    heldBytes = bytes
    heldBytesPeak = Math.max(heldBytesPeak, bytes)
  }
  const budget = new BodyBudget({ onChange })
  const reader = new FileReader(spool, pace)
  const reply = (exchange: Exchange, status: number, body: string): void =>
    exchange.reply({ status, headers: [], body, close: status !== 200 })
  const request = (exchange: Exchange): void => {
    const lease = budget.lease()
    reader
      .read(exchange, lease)
      .then(
        (file) => {
          files.push(file)
          reply(exchange, 200, `got ${file.bytes}`)
        },
        (error) => {
          errors.push(error)
          reply(exchange, 503, 'refused')
        },
      )
      .finally(() => lease.release())
  }
  const upgrade = (exchange: Exchange): void => exchange.destroy()
  const server = new UwsServer({ request, upgrade, fault: assert.ifError })
  const { port } = await server.listen('127.0.0.1', 0)
  t.after(async () => {
    server.close()
    reader.close()
    await spool.close()
    await rm(folder, { recursive: true, force: true })
  })
  return {
    port,
    folder,
    spool,
    files,
    errors,
    heldBytes: () => heldBytes,
    peak: () => heldBytesPeak,
  }
}

const head = (length: number): string =>
  `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: ${length}\r\n\r\n`

/** Writes as fast as the other end takes it; gives the hash of what was written. */
async function pour(socket: Socket, bytes: number, frame = (chunk: Buffer) => chunk) {
  const hash = createHash('sha256')
  const chunk = randomBytes(MiB)
  for (let left = bytes; left > 0; left -= chunk.length) {
    const piece = chunk.subarray(0, left)
    hash.update(piece)
    if (!socket.write(frame(piece)))
      await Promise.race([once(socket, 'drain'), once(socket, 'close')])
    if (socket.destroyed) break
  }
  return hash.digest()
}

function slowFiles(beforeWrite: () => Promise<unknown>) {
  return (path: string) => new SlowDisk(path, beforeWrite)
}

async function anonymousBytes(): Promise<number> {
  const status = await readFile('/proc/self/status', 'utf8')
  return Number(/RssAnon:\s+(\d+) kB/.exec(status)?.[1]) * 1024
}

test('a slow disk holds the client back, and memory is bounded', { timeout: 60_000 }, async (t) => {
  const bytes = 200 * MiB
  const { port, files, peak, heldBytes } = await listen(t, {
    spool: { openFile: slowFiles(() => delay(5)) },
  })
  const { socket } = await rawConnection(t, port)
  socket.write(head(bytes))
  const before = await anonymousBytes()
  const pouring = pour(socket, bytes)
  let grown = 0
  while (files.length === 0 && !socket.destroyed) {
    grown = Math.max(grown, (await anonymousBytes()) - before)
    await delay(20)
  }
  assert.deepEqual(Buffer.from(files[0]?.hash ?? []), await pouring)
  assert.equal(files[0]?.bytes, bytes)
  assert.ok(peak() > limits.spoolWriteBytesMax, `it was never held back: ${peak()}`)
  assert.ok(peak() < limits.spoolHeldBytesMax + readBytesMax, `${peak()} bytes waited`)
  assert.ok(grown < 96 * MiB, `${grown} bytes more`)
  await eventually(async () => (heldBytes() === 0 ? true : undefined), 'the end of the lease')
})

test('who is held back for long by the disk is not cut', { timeout: 60_000 }, async (t) => {
  const bytes = 20 * MiB
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  const pace = { graceMs: 2_000, bytesPerSecond: 1e9, sweepIntervalMs: 500 }
  const { port, files, heldBytes } = await listen(t, {
    pace,
    spool: { openFile: slowFiles(() => opened) },
  })
  const connection = await rawConnection(t, port)
  connection.socket.write(head(bytes))
  const pouring = pour(connection.socket, bytes)
  // Longer than the pace allows, and than the library waits for a client that sends nothing.
  await delay(14_000)
  assert.equal(connection.socket.destroyed, false)
  assert.ok(heldBytes() > limits.spoolWriteBytesMax)
  open()
  assert.match(await connection.until('got '), new RegExp(`got ${bytes}`))
  assert.deepEqual(Buffer.from(files[0]?.hash ?? []), await pouring)
})

test('a chunked body of any chunk size is spooled whole', async (t) => {
  const { port, files } = await listen(t)
  const connection = await rawConnection(t, port)
  const { socket } = connection
  socket.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n')
  const framed = (chunk: Buffer): Buffer => {
    const parts: Buffer[] = []
    for (let from = 0, length = 1; from < chunk.length; from += length, length = length * 3) {
      const piece = chunk.subarray(from, from + length)
      parts.push(Buffer.from(`${piece.length.toString(16)}\r\n`), piece, Buffer.from('\r\n'))
    }
    return Buffer.concat(parts)
  }
  const hash = await pour(socket, 5 * MiB + 17, framed)
  socket.write('0\r\n\r\n')
  await connection.until('got ')
  assert.deepEqual(Buffer.from(files[0]?.hash ?? []), hash)
})

test('a client that goes away, or is too slow, leaves no file', async (t) => {
  const pace = { graceMs: 1_000, bytesPerSecond: 10 * MiB, sweepIntervalMs: 50 }
  const { port, folder, spool, errors } = await listen(t, { pace })
  const gone = await rawConnection(t, port)
  gone.socket.write(head(10 * MiB))
  gone.socket.write(randomBytes(MiB))
  await eventually(async () => (await readdir(folder))[0], 'the file')
  gone.socket.destroy()
  await eventually(async () => errors[0], 'the end of the one that goes')
  const slow = await rawConnection(t, port)
  slow.socket.write(head(10 * MiB))
  const drip = setInterval(() => slow.socket.write(randomBytes(20_000)), 100)
  t.after(() => clearInterval(drip))
  await within(slow.closed, 'the cut of the slow one')
  await eventually(async () => ((await readdir(folder)).length === 0 ? true : undefined), 'no file')
  assert.ok(errors.every((error) => error instanceof ClientGone))
  assert.equal(errors.length, 2)
  assert.equal(spool.usedBytes, 0)
})

test('a disk that fails while the client is held back is told at once', async (t) => {
  const failing = async (): Promise<never> => {
    await delay(300)
    throw Object.assign(new Error('no space left'), { code: 'ENOSPC' })
  }
  const { port, folder, errors } = await listen(t, { spool: { openFile: slowFiles(failing) } })
  const connection = await rawConnection(t, port)
  connection.socket.write(head(50 * MiB))
  const pouring = pour(connection.socket, 50 * MiB)
  assert.match(await connection.until('refused'), /^HTTP\/1\.1 503 /)
  assert.equal((errors[0] as { code?: string }).code, 'STORE_FULL')
  // The rest is read and dropped: the client would be reset amid its reply otherwise.
  await within(pouring, 'the rest of the body')
  await eventually(async () => ((await readdir(folder)).length === 0 ? true : undefined), 'no file')
})
