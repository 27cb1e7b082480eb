import assert from 'node:assert/strict'
import { test } from 'node:test'
import { between, middleOf, ratioRound } from '../../bench/rounds.ts'

test('each round is compared with the yardstick right before and right after it', async () => {
  const order: string[] = []
  const yardsticks = [10, 30, 50, 70]
  const rounds = await between(
    3,
    async (round) => {
      order.push(`ours ${round}`)
      return 40
    },
    async () => {
      order.push('yardstick')
      return yardsticks.shift() ?? 0
    },
  )
  assert.equal(order.join(), 'yardstick,ours 0,yardstick,ours 1,yardstick,ours 2,yardstick')
  assert.deepEqual(
    rounds.map(({ yardstick }) => yardstick),
    [20, 40, 60],
  )
  assert.deepEqual(
    rounds.map(({ ratio }) => ratio),
    [2, 1, 40 / 60],
  )
})

test('a row is judged by the round in the middle, not by the best nor by the mean', () => {
  const rounds = [ratioRound(90, 10), ratioRound(10, 10), ratioRound(21, 10)]
  assert.equal(middleOf(rounds), 2)
  assert.equal(middleOf([ratioRound(5, 10)]), 0)
})
