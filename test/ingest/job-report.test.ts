import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FormatRegistry } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import { JobCancelled, JobStatusReply } from '../../src/contracts/http.ts'
import { jobCancelled, jobStatus } from '../../src/ingest/job-report.ts'
import type { JobRow } from '../../src/store/interfaces.ts'
import { newMediaJob } from '../store/fixtures.ts'

FormatRegistry.Set('date-time', (text) => /T.*Z$/.test(text) && !Number.isNaN(Date.parse(text)))

const startedAtMs = Date.UTC(2025, 0, 20, 10, 30)
const nowMs = startedAtMs + 100_000

/** A job on a file of 1,000 frames whose atomization began 20 s ago, after a restart, with 100 done. */
function video(changes: Partial<JobRow> = {}): JobRow {
  const base = {
    status: 'in-progress',
    step: 'atomization',
    stepDurationsMs: { upload: 2_000, validation: 500 },
    stepStartedAtMs: nowMs - 20_000,
    stepItemsBefore: 100,
    itemUnit: 'frames',
    itemsTotal: 1_000,
    itemsProcessed: 300,
    atomsCreated: 30,
    createdAtMs: startedAtMs,
    startedAtMs,
    updatedAtMs: nowMs,
  } as const
  return { ...newMediaJob('job-a', base), number: 1, ...changes }
}

function report(changes: Partial<JobRow> = {}): JobStatusReply {
  const reply = jobStatus(video(changes), 'stream-session-a', 'http://host', nowMs)
  assert.deepEqual([...Value.Errors(JobStatusReply, JSON.parse(JSON.stringify(reply)))], [])
  return reply
}

const ended = { endedAtMs: startedAtMs + 99_000 } as const

test('progress is that of the items, at the speed of the step since it was taken up again', () => {
  const { progress, phaseProgress } = report()
  assert.deepEqual(progress, {
    currentStep: 'atomization',
    totalSteps: 5,
    percentComplete: 30,
    itemsProcessed: 300,
    totalItems: 1_000,
    itemUnit: 'frames',
    // 200 frames took 20 s, so 700 take 70 s.
    estimatedTimeRemainingMs: 70_000,
  })
  assert.deepEqual(phaseProgress, {
    upload: { status: 'completed', durationMs: 2_000 },
    validation: { status: 'completed', durationMs: 500 },
    atomization: { status: 'in-progress', percentComplete: 30, estimatedRemainingMs: 70_000 },
    indexing: { status: 'pending' },
    completion: { status: 'pending' },
  })
})

test('where the total is not known nothing is made up', () => {
  const { progress, phaseProgress } = report({ itemsTotal: null })
  assert.equal(progress?.totalItems, null)
  assert.equal(progress?.percentComplete, 0)
  assert.equal(progress?.estimatedTimeRemainingMs, null)
  assert.deepEqual(phaseProgress.atomization, { status: 'in-progress' })
})

test('nobody knows the speed of a step that has just begun', () => {
  const { progress, phaseProgress } = report({ itemsProcessed: 100 })
  assert.equal(progress?.estimatedTimeRemainingMs, null)
  assert.deepEqual(phaseProgress.atomization, { status: 'in-progress', percentComplete: 10 })
})

test('a step that is not over is never at 100 percent, also where the file told too little', () => {
  for (const itemsProcessed of [999, 1_000, 1_200]) {
    const { progress, phaseProgress } = report({ itemsProcessed })
    assert.equal(progress?.percentComplete, 99)
    assert.equal(phaseProgress.atomization.percentComplete, 99)
  }
  assert.equal(report({ itemsProcessed: 1_200 }).progress?.estimatedTimeRemainingMs, 0)
  assert.equal(report({ itemsTotal: 0, itemsProcessed: 0 }).progress?.percentComplete, 0)
})

test('of the steps without items only their durations are told', () => {
  const { progress, phaseProgress } = report({
    step: 'indexing',
    stepDurationsMs: { upload: 1, validation: 2, atomization: 3 },
    itemsProcessed: 1_000,
    stepItemsBefore: 1_000,
  })
  assert.equal(progress?.percentComplete, 100)
  assert.equal(progress?.estimatedTimeRemainingMs, null)
  assert.deepEqual(phaseProgress.atomization, { status: 'completed', durationMs: 3 })
  assert.deepEqual(phaseProgress.indexing, { status: 'in-progress' })
})

test('a failed job tells the last good frame, a completed one its result', () => {
  const error = { code: 'ATOMIZATION_ERROR', message: 'Failed to parse', details: 'Invalid' }
  const failed = report({ ...ended, status: 'failed', error })
  const failedAt = '2025-01-20T10:31:39.000Z'
  assert.deepEqual(failed.error, { ...error, failedAt })
  assert.equal(failed.failedAt, failedAt)
  assert.deepEqual(failed.partialResult, {
    atomsCreated: 30,
    itemsProcessed: 300,
    lastSuccessfulFrame: 300,
  })
  assert.equal(failed.phaseProgress.atomization.status, 'failed')
  assert.equal(failed.progress, undefined)
  const completed = report({ ...ended, status: 'completed', step: 'completion' })
  const finalHash = '0'.repeat(64)
  assert.deepEqual(completed.result, { atomsCreated: 30, totalDurationMs: 99_000, finalHash })
  assert.equal(completed.partialResult, undefined)
  assert.equal(completed.phaseProgress.completion.status, 'completed')
})

test('a cancelled job tells what was kept, in its status and to who cancels it', () => {
  const cancelled = {
    ...ended,
    status: 'cancelled',
    itemUnit: 'samples',
    stepDurationsMs: { atomization: 9 },
  } as const
  const partialResult = { atomsCreated: 30, itemsProcessed: 300, lastSuccessfulSample: 300 }
  const cancelledAt = '2025-01-20T10:31:39.000Z'
  const status = report(cancelled)
  assert.deepEqual(status.partialResult, partialResult)
  assert.equal(status.cancelledAt, cancelledAt)
  assert.equal(status.error, undefined)
  assert.equal(status.result, undefined)
  assert.deepEqual(status.phaseProgress.atomization, { status: 'cancelled', durationMs: 9 })
  const told = jobCancelled(video(cancelled))
  assert.deepEqual(told, { jobId: 'job-a', status: 'cancelled', cancelledAt, partialResult })
  assert.ok(Value.Check(JobCancelled, told))
})
