import assert from 'node:assert/strict'
import test from 'node:test'
import { limits } from '../../src/limits.ts'
import type { SessionRow } from '../../src/store/interfaces.ts'
import { SessionCache } from '../../src/store/session-cache.ts'
import { newSession } from './fixtures.ts'

function sessionOf(number: number, schemaChars: number): SessionRow {
  const row = newSession(`session ${number}`)
  const schema = ' '.repeat(schemaChars)
  return { ...row, number, decode: { ...row.decode, schema } }
}

test('sessions that take much are remembered for as many as fit the bytes, the last used ones', () => {
  const cache = new SessionCache()
  const schemaChars = 1_000_000
  const fitting = Math.floor(limits.sessionCacheBytesMax / (2 * schemaChars))
  for (let number = 1; number <= 10 * fitting; number += 1) {
    cache.keep(sessionOf(number, schemaChars))
    if (number > 1) assert.ok(cache.get(1), 'the one in use stays')
    cache.keep(cache.get(1) as SessionRow)
  }
  const kept = Array.from({ length: 10 * fitting }, (_, index) => cache.get(index + 1))
  const count = kept.filter((row) => row !== null).length
  assert.ok(count <= fitting && count >= fitting - 2, `${count} of ${fitting}`)
  assert.equal(cache.get(2), null)
  assert.equal(cache.number('session 2'), null)
  assert.equal(cache.number(`session ${10 * fitting}`), 10 * fitting)
})

test('small sessions are remembered up to their number', () => {
  const cache = new SessionCache()
  for (let number = 1; number <= limits.sessionCacheMax + 10; number += 1) {
    cache.keep(sessionOf(number, 10))
  }
  assert.equal(cache.get(10), null)
  assert.equal(cache.get(11)?.number, 11)
})

test('a session that does not fit alone is not remembered, and forgetting gives room', () => {
  const cache = new SessionCache()
  cache.keep(sessionOf(1, limits.sessionCacheBytesMax))
  assert.equal(cache.get(1), null)
  const third = sessionOf(3, limits.sessionCacheBytesMax / 4)
  cache.keep(third)
  cache.forget(third)
  cache.forget(third)
  assert.equal(cache.get(3), null)
  const half = limits.sessionCacheBytesMax / 4 - 10_000
  for (const number of [4, 5]) cache.keep(sessionOf(number, half))
  assert.ok(cache.get(4) && cache.get(5))
})
