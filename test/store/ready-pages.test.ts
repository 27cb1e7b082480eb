import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { join } from 'node:path'
import test from 'node:test'
import { limits } from '../../src/limits.ts'
import { Database } from '../../src/store/database.ts'
import { numberKey } from '../../src/store/keys.ts'
import { ReadyPages } from '../../src/store/ready-pages.ts'
import { blobOf, temporaryFolder } from './fixtures.ts'

const blockBytes = 512

test('large commits make the file longer by a hole, and what is written into it stays', async (t) => {
  const path = await temporaryFolder(t)
  const options = { path, flush: true, maxBytes: 1024 ** 3 }
  const database = new Database(options)
  const values = Array.from({ length: 12 }, (_, index) =>
    blobOf(`value ${index}`, limits.readyCommitBytesMin + index),
  )
  for (const [index, { bytes }] of values.entries()) {
    await database.apply([{ table: 'blobs', key: numberKey(index), value: bytes }])
  }
  const written = limits.readyCommitBytesMin * values.length
  const { size, blocks } = statSync(join(path, 'data.mdb'))
  assert.ok(size > written && size % limits.readyStepBytes === 0, `${size} bytes`)
  assert.ok(blocks * blockBytes < written + limits.readyStepBytes / 2, `${blocks} blocks`)
  const has = (each: Database) =>
    values.every(({ bytes }, index) => {
      const value = each.table('blobs').get(numberKey(index))
      return value !== null && Buffer.compare(value, bytes) === 0
    })
  assert.ok(has(database))
  await database.close()
  const again = new Database(options)
  assert.ok(has(again))
  await again.close()
})

test('small commits leave the file as LMDB makes it', async (t) => {
  const path = await temporaryFolder(t)
  const database = new Database({ path, flush: true, maxBytes: 1024 ** 3 })
  const { bytes } = blobOf('small', limits.readyCommitBytesMin / 2)
  for (let index = 0; index < 4; index += 1) {
    await database.apply([{ table: 'blobs', key: numberKey(index), value: bytes }])
  }
  assert.ok(statSync(join(path, 'data.mdb')).size < 5 * bytes.byteLength)
  await database.close()
})

test('a file is made longer and never shorter, and closing waits for what is read', async (t) => {
  const path = await temporaryFolder(t)
  const database = new Database({ path, flush: true, maxBytes: 1024 ** 3 })
  const file = join(path, 'data.mdb')
  const { size } = statSync(file)
  const ready = new ReadyPages(file)
  ready.prepare(size, limits.readyStepBytes)
  assert.equal(statSync(file).size, 2 * limits.readyStepBytes)
  await ready.close()
  ready.prepare(2 * limits.readyStepBytes, limits.readyStepBytes)
  assert.equal(statSync(file).size, 2 * limits.readyStepBytes)
  const again = new ReadyPages(file)
  again.prepare(0, size)
  assert.equal(statSync(file).size, 2 * limits.readyStepBytes)
  await again.close()
  await database.close()
})
