import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { median, percentile, summariseLatency } from '../../bench/statistics.ts'

test('a percentile is the nearest-rank sample', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => index + 1)
  assert.equal(percentile(hundred, 0.5), 50)
  assert.equal(percentile(hundred, 0.99), 99)
  assert.equal(percentile(hundred, 1), 100)
  assert.equal(percentile([7], 0.5), 7)
  assert.equal(percentile([1, 2, 3], 0.99), 3)
  assert.throws(() => percentile([], 0.5))
})

test('at least the fraction of samples does not exceed its percentile, and no smaller sample will do', () => {
  const samples = fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { minLength: 1 })
  const fractions = fc.double({ min: 0.001, max: 1, noNaN: true })
  fc.assert(
    fc.property(samples, fractions, (values, fraction) => {
      const sorted = values.toSorted((a, b) => a - b)
      const value = percentile(sorted, fraction)
      const atMost = sorted.filter((sample) => sample <= value).length
      const below = sorted.filter((sample) => sample < value).length
      assert(atMost >= fraction * sorted.length)
      assert(below < fraction * sorted.length)
    }),
  )
})

test('a summary takes its samples in any order', () => {
  assert.deepEqual(summariseLatency([30, 10, 20]), { p50Ms: 20, p99Ms: 30, samples: 3 })
  assert.equal(median([3, 1, 2]), 2)
})
