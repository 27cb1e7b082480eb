import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { DiskResult } from '../../bench/messages.ts'
import {
  judgeAtLeast,
  judgeAtMost,
  judgeDiskBound,
  judgeLatency,
  judgeThroughput,
  overallVerdict,
} from '../../bench/verdict.ts'

function disk(recordsPerSecond: number, p50Ms = 1): DiskResult {
  const latency = { p50Ms, p99Ms: p50Ms, samples: 1 }
  return { recordsPerSecond, bytesPerSecond: recordsPerSecond, latency }
}

test('a throughput has to reach its multiple of the published rate', () => {
  const bound = { published: 1_000, factor: 10, disk: null }
  assert.equal(judgeThroughput(10_000, bound).verdict, 'met')
  assert.equal(judgeThroughput(9_999, bound).verdict, 'missed')
  assert.equal(judgeThroughput(9_999, bound).required, 10_000)
})

test('a slow disk lowers what is required to its share, a fast one does not raise it', () => {
  const bound = { published: 2_000, factor: 1 }
  const slow = judgeThroughput(700, { ...bound, disk: disk(1_000) })
  assert.deepEqual([slow.verdict, slow.required], ['met', 700])
  assert.match(slow.note, /0\.7 of plain write and fdatasync 1000\/s/)
  assert.equal(judgeThroughput(699, { ...bound, disk: disk(1_000) }).verdict, 'missed')
  const fast = judgeThroughput(2_000, { ...bound, disk: disk(9_000) })
  assert.deepEqual([fast.verdict, fast.required], ['met', 2_000])
})

test('a latency or a memory may equal its bound and not pass it', () => {
  assert.equal(judgeAtMost(50, 50).verdict, 'met')
  assert.equal(judgeAtMost(50.01, 50).verdict, 'missed')
})

test('a latency is bound by the published one, or by what a plain write of its bytes takes', () => {
  assert.equal(judgeLatency(60, 50, null).verdict, 'missed')
  assert.equal(judgeLatency(60, 50, disk(1_000, 20)).required, 50)
  const slow = judgeLatency(60, 50, disk(1_000, 49))
  assert.deepEqual([slow.verdict, Math.round(slow.required)], ['met', 70])
  assert.equal(judgeLatency(71, 50, disk(1_000, 49)).verdict, 'missed')
})

test('a latency is judged unless a plain write on this disk misses the published figures too', () => {
  const published = { publishedMs: 50, publishedPerSecond: 2_000 }
  assert.equal(judgeDiskBound(51, published, disk(4_000, 10)).verdict, 'missed')
  assert.equal(judgeDiskBound(50, published, disk(4_000, 10)).verdict, 'met')
  assert.equal(judgeDiskBound(80, published, disk(1_800, 57)).verdict, 'met')
  for (const slow of [disk(1_800, 40), disk(4_000, 57)]) {
    const beyond = judgeDiskBound(120, published, slow)
    assert.equal(beyond.verdict, 'not judged')
    assert.match(beyond.note, /out of this disk's reach/)
  }
})

test('a ratio may equal its bound and not fall short of it', () => {
  assert.equal(judgeAtLeast(2.2, 2.2).verdict, 'met')
  assert.equal(judgeAtLeast(2.199, 2.2).verdict, 'missed')
})

test('a run is met only where all its rows are, and one that could not be run or judged is none', () => {
  const rows = (...verdicts: ('met' | 'missed' | 'information' | 'not judged' | 'not run')[]) =>
    verdicts.map((verdict) => ({ verdict }))
  assert.equal(overallVerdict(rows('met', 'information'), false), 'met')
  assert.equal(overallVerdict(rows('met', 'information', 'not judged'), false), 'not judged')
  assert.equal(overallVerdict(rows('not judged', 'not run'), false), 'not run')
  assert.equal(overallVerdict(rows('met', 'not run'), false), 'not run')
  assert.equal(overallVerdict(rows('not run', 'missed'), false), 'missed')
  assert.equal(overallVerdict(rows('not judged', 'not run'), true), 'met')
})
