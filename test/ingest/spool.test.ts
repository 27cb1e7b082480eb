import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Refusal } from '../../src/contracts/errors.ts'
import { Spool, SpoolDisk, type SpoolOptions, type SpoolWriter } from '../../src/ingest/spool.ts'
import { limits } from '../../src/limits.ts'
import { refusalOf } from '../support/refusal.ts'
import { FullDisk, SlowDisk } from '../support/slow-disk.ts'
import { eventually } from '../support/waiting.ts'

const MiB = 1024 * 1024

async function openSpool(t: TestContext, options: Partial<SpoolOptions> = {}) {
  const parent = await mkdtemp(join(tmpdir(), 'atomstream-spool-'))
  const folder = join(parent, 'spool')
  const settings = { folder, bytesMax: 8 * MiB, fileBytesMax: 4 * MiB, ...options }
  const spool = await Spool.open(settings)
  t.after(async () => {
    await spool.close()
    await rm(parent, { recursive: true, force: true })
  })
  return { spool, folder, settings }
}

function slowFiles(writeMs: number) {
  return (path: string) => new SlowDisk(path, () => delay(writeMs))
}

function writeInPieces(writer: SpoolWriter, bytes: Uint8Array): void {
  for (let from = 0, length = 1; from < bytes.length; from += length, length = length * 2 + 1) {
    const piece = Uint8Array.from(bytes.subarray(from, from + length))
    writer.write(piece)
    // Whoever brings a chunk takes it away again.
    piece.fill(0)
  }
}

test('a file is on disk as it came, named by nobody else, with its hash', async (t) => {
  const { spool, folder } = await openSpool(t)
  const bytes = randomBytes(3_000_000)
  const writer = spool.create(bytes.length)
  writeInPieces(writer, bytes)
  const file = await writer.finish()
  assert.match(file.id, /^spool-[0-9a-f]{32}$/)
  assert.equal(file.path, join(folder, file.id))
  assert.equal(file.bytes, bytes.length)
  assert.deepEqual(Buffer.from(file.hash), createHash('sha256').update(bytes).digest())
  assert.deepEqual(await readFile(file.path), bytes)
  assert.equal((await stat(file.path)).mode & 0o777, 0o600)
  assert.equal((await stat(folder)).mode & 0o777, 0o700)
  assert.equal(spool.usedBytes, bytes.length)
  await spool.remove(file.id)
  assert.deepEqual(await readdir(folder), [])
  assert.equal(spool.usedBytes, 0)
})

test('an empty file is a file', async (t) => {
  const { spool } = await openSpool(t)
  const file = await spool.create(null).finish()
  assert.equal(file.bytes, 0)
  assert.equal((await stat(file.path)).size, 0)
})

test('what waits for a slow disk is counted, in order, and told when it has gone', async (t) => {
  const { spool } = await openSpool(t, { openFile: slowFiles(5) })
  const bytes = randomBytes(3_000_000)
  const writer = spool.create(null)
  const held: number[] = []
  writer.onDrained = () => held.push(writer.heldBytes)
  for (let from = 0; from < bytes.length; from += 10_000) {
    writer.write(bytes.subarray(from, from + 10_000))
  }
  assert.equal(writer.heldBytes, bytes.length)
  const file = await writer.finish()
  assert.ok(held.length > 1)
  assert.deepEqual(
    held,
    [...held].sort((one, other) => other - one),
  )
  assert.equal(held.at(-1), 0)
  assert.deepEqual(await readFile(file.path), bytes)
})

test('the spool refuses what it has no room for, announced or not', async (t) => {
  const { spool } = await openSpool(t)
  const tooLarge = refusalOf(() => spool.create(4 * MiB + 1), 'BODY_TOO_LARGE')
  assert.equal(tooLarge.detail.fields?.maxBytes, 4 * MiB)
  const first = spool.create(4 * MiB)
  const second = spool.create(3 * MiB)
  assert.equal(spool.usedBytes, 7 * MiB)
  const full = refusalOf(() => spool.create(2 * MiB), 'SATURATED')
  assert.ok(Number(full.detail.fields?.retryAfter) >= 1)
  const third = spool.create(null)
  third.write(new Uint8Array(MiB))
  refusalOf(() => third.write(new Uint8Array(1)), 'SATURATED')
  // What is announced and does not come makes room for others.
  first.unclaim()
  third.write(new Uint8Array(3 * MiB))
  refusalOf(() => third.write(new Uint8Array(1)), 'BODY_TOO_LARGE')
  await Promise.all([first.abort(), second.abort(), third.abort()])
  assert.equal(spool.usedBytes, 0)
})

test('of a length that was announced only what has come counts in the end', async (t) => {
  const { spool } = await openSpool(t)
  const writer = spool.create(MiB)
  writer.write(new Uint8Array(10))
  await writer.finish()
  assert.equal(spool.usedBytes, 10)
})

test('a full disk is told as such, and nothing is left of the file', async (t) => {
  // The kernel's own full disk: its writes fail with ENOSPC.
  const { spool, folder } = await openSpool(t, { openFile: () => new FullDisk() })
  const writer = spool.create(null)
  const failed: unknown[] = []
  writer.onFailed = (error) => failed.push(error)
  writer.write(new Uint8Array(100_000))
  await eventually(async () => failed[0], 'the failure')
  assert.ok(failed[0] instanceof Refusal && failed[0].code === 'STORE_FULL')
  refusalOf(() => writer.write(new Uint8Array(1)), 'STORE_FULL')
  await assert.rejects(writer.finish(), { code: 'STORE_FULL' })
  assert.equal(failed.length, 1)
  assert.deepEqual(await readdir(folder), [])
  assert.equal(spool.usedBytes, 0)
})

test('a file that cannot be made is told and takes nothing of the spool', async (t) => {
  const { spool } = await openSpool(t, { openFile: () => new SpoolDisk('/proc/nothing') })
  assert.throws(() => spool.create(MiB), { code: 'ENOENT' })
  assert.equal(spool.usedBytes, 0)
})

test('who brings more than may be held waits for the disk, and nothing is lost', async (t) => {
  const { spool } = await openSpool(t, {
    openFile: slowFiles(20),
    bytesMax: 64 * MiB,
    fileBytesMax: 64 * MiB,
  })
  const bytes = randomBytes(40 * MiB)
  const writer = spool.create(bytes.length)
  let heldBytesPeak = 0
  for (let from = 0; from < bytes.length; from += MiB) {
    writer.write(bytes.subarray(from, from + MiB))
    heldBytesPeak = Math.max(heldBytesPeak, writer.heldBytes)
    if (from === 8 * MiB) await delay(30)
  }
  assert.ok(heldBytesPeak < limits.spoolHeldBytesMax)
  assert.ok(heldBytesPeak >= limits.spoolHeldBytesMax - MiB)
  const file = await writer.finish()
  assert.deepEqual(Buffer.from(file.hash), createHash('sha256').update(bytes).digest())
  assert.ok((await readFile(file.path)).equals(bytes))
})

test('a file that is given up amid a write is gone', async (t) => {
  const { spool, folder } = await openSpool(t, { openFile: slowFiles(20) })
  const writer = spool.create(2 * MiB)
  let drained = 0
  writer.onDrained = () => {
    drained += 1
  }
  writer.write(randomBytes(MiB))
  await eventually(async () => (await readdir(folder))[0], 'the file')
  const drainedBefore = drained
  await Promise.all([writer.abort(), writer.abort()])
  assert.deepEqual(await readdir(folder), [])
  assert.equal(spool.usedBytes, 0)
  assert.equal(drained, drainedBefore)
})

test('a start keeps the files that jobs name, counts them and removes the others', async (t) => {
  const { spool, folder, settings } = await openSpool(t)
  const kept = spool.create(null)
  kept.write(randomBytes(1_000))
  const { id } = await kept.finish()
  const lost = spool.create(null)
  lost.write(randomBytes(2_000))
  await lost.finish()
  await writeFile(join(folder, 'something else'), 'x')
  const next = await Spool.open(settings)
  await next.sweep(new Set([id, `spool-${'0'.repeat(32)}`]))
  assert.deepEqual(await readdir(folder), [id])
  assert.equal(next.usedBytes, 1_000)
  await next.remove(id)
  assert.equal(next.usedBytes, 0)
})

test('closing drops what is not whole, keeps what is, and refuses new files', async (t) => {
  const { spool, folder } = await openSpool(t, { openFile: slowFiles(5) })
  const whole = spool.create(null)
  whole.write(randomBytes(100))
  const { id } = await whole.finish()
  const half = spool.create(null)
  half.write(randomBytes(100_000))
  const ending = spool.create(null)
  ending.write(randomBytes(100_000))
  const ended = assert.rejects(ending.finish(), { code: 'SHUTTING_DOWN' })
  await Promise.all([spool.close(), spool.close()])
  await ended
  assert.deepEqual(await readdir(folder), [id])
  refusalOf(() => spool.create(null), 'SHUTTING_DOWN')
  await spool.remove(id)
  assert.deepEqual(await readdir(folder), [])
})
