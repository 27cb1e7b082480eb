import assert from 'node:assert/strict'
import { test } from 'node:test'
import { faultTest } from './in-test.ts'
import { differenceFrom, resumeFault, type SeenEvent } from './resume.ts'

function event(number: number, gapFrom: number | null = null): SeenEvent {
  const gap = gapFrom === null ? null : { from: gapFrom, to: number }
  return { number, digest: gap === null ? `of ${number}` : 'gap', gap }
}

test('a hole, a duplicate, a swap and other data are found, and what a gap event tells is none', () => {
  const log = [1, 2, 4, 7].map((number) => event(number))
  const numbers = (...list: number[]) => list.map((number) => event(number))
  assert.equal(differenceFrom(log, numbers(1, 2, 4, 7)), null)
  assert.match(differenceFrom(log, numbers(1, 4, 7)) ?? '', /event_2 should be the 2th/)
  assert.match(differenceFrom(log, numbers(1, 2, 2, 4, 7)) ?? '', /event_4 .* and event_2 is/)
  assert.match(differenceFrom(log, numbers(2, 1, 4, 7)) ?? '', /event_1 .* and event_2 is/)
  assert.match(differenceFrom(log, numbers(1, 2, 4)) ?? '', /event_7 .* and the end is/)
  assert.notEqual(differenceFrom(log, [{ ...event(1), digest: 'x' }, ...numbers(2, 4, 7)]), null)
  assert.equal(differenceFrom(log, [event(1), event(3, 2), ...numbers(4, 7)]), null)
  assert.notEqual(differenceFrom(log, [event(1), event(3, 2), event(7)]), null)
})

faultTest(
  'readers that are cut at random, also by restarts of the server, miss and repeat nothing',
  resumeFault,
)
