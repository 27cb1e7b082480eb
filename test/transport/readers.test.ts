import assert from 'node:assert/strict'
import { test } from 'node:test'
import { limits } from '../../src/limits.ts'
import { type Reader, Readers } from '../../src/transport/readers.ts'
import { refusalOf } from '../support/refusal.ts'

/** Readers that note when they are cut, and a clock to wind. */
function openReaders() {
  const clock = { ms: 0 }
  const cut: string[] = []
  let heldBytes = 0
  const readers = new Readers(
    (bytes) => {
      heldBytes = bytes
    },
    () => clock.ms,
  )
  const reader = (name: string): Reader => {
    readers.join()
    return {
      cut() {
        cut.push(name)
        readers.leave(this)
      },
    }
  }
  return { readers, reader, clock, cut, held: () => heldBytes }
}

test('past the bound of all bytes held back, those stalled longest are cut', (t) => {
  const { readers, reader, clock, cut, held } = openReaders()
  t.after(() => readers.close())
  const third = Math.floor(limits.readerBufferBytesMax / 3)
  const [first, second, last] = [reader('first'), reader('second'), reader('last')]
  readers.hold(first, third)
  clock.ms = 1
  readers.hold(second, third)
  clock.ms = 2
  readers.hold(last, third)
  assert.deepEqual(cut, [])
  // It has taken some, so the second has stalled longer.
  readers.hold(first, third - 1)
  readers.hold(last, third + 4)
  assert.deepEqual(cut, ['second'])
  assert.equal(held(), 2 * third + 3)
  readers.hold(last, 2 * third + 4)
  assert.deepEqual(cut, ['second', 'last'])
  readers.leave(first)
  assert.equal(held(), 0)
})

test('a reader is cut once its socket has taken nothing for the time it has', (t) => {
  const { readers, reader, clock, cut, held } = openReaders()
  t.after(() => readers.close())
  const [dead, slow] = [reader('dead'), reader('slow')]
  readers.hold(dead, 1_000)
  readers.hold(slow, 1_000)
  clock.ms = limits.subscriberStallMs - 1
  readers.hold(slow, 999)
  readers.hold(dead, 2_000)
  readers.cutStalled()
  assert.deepEqual(cut, [])
  clock.ms = limits.subscriberStallMs
  readers.cutStalled()
  assert.deepEqual(cut, ['dead'])
  assert.equal(held(), 999)
  clock.ms = 2 * limits.subscriberStallMs - 1
  readers.cutStalled()
  assert.deepEqual(cut, ['dead', 'slow'])
})

test('streams and sockets together are no more than there may be', (t) => {
  const readers = new Readers()
  t.after(() => readers.close())
  for (let count = 0; count < limits.subscribersMax; count += 1) readers.join()
  refusalOf(() => readers.join(), 'SATURATED')
  readers.leave({ cut() {} })
  readers.join()
})
