import { giveBack } from '../contracts/buffers.ts'
import type { DecodeVerdict, TaskResults, WorkerTask } from '../contracts/tasks.ts'
import {
  aggregateBuffers,
  combineBuffers,
  pageBuffers,
  readBuffers,
  verdictBuffers,
} from '../contracts/transfer.ts'
import { decodeUpload } from './decode.ts'
import { aggregateRecords } from './telemetry/aggregate.ts'
import { combineParts } from './telemetry/combine.ts'
import { mergePages } from './telemetry/page-builder.ts'
import { readRecords } from './telemetry/read.ts'

/** A task's result and the buffers of it that go to the main thread without a copy. */
export interface TaskOutcome {
  readonly result: TaskResults[WorkerTask['kind']]
  readonly transfer: ArrayBuffer[]
}

/** Runs one task. Rejects only where the codecs themselves fail; bad input comes back as data. */
export async function runTask(task: WorkerTask): Promise<TaskOutcome> {
  switch (task.kind) {
    case 'decode': {
      const verdicts: DecodeVerdict[] = []
      for (const upload of task.uploads) verdicts.push(await decodeUpload(upload))
      const transfer = verdictBuffers(verdicts)
      for (const { body } of task.uploads) {
        if (body instanceof ArrayBuffer && !transfer.includes(body)) giveBack(body)
      }
      return { result: { verdicts }, transfer }
    }
    case 'merge': {
      const page = mergePages(task.pages)
      return { result: page, transfer: pageBuffers(page) }
    }
    case 'read': {
      const result = readRecords(task)
      return { result, transfer: readBuffers(result) }
    }
    case 'aggregate': {
      const result = aggregateRecords(task)
      return { result, transfer: aggregateBuffers(result) }
    }
    case 'combine': {
      const result = combineParts(task)
      return { result, transfer: combineBuffers(result) }
    }
    // What only sessions with frames or audio to cut need is loaded by the worker that meets one.
    case 'select': {
      const { select } = await import('./frames/select.ts')
      const result = await select(task)
      return { result, transfer: [result.buffer] }
    }
    case 'analyse': {
      const { analyse } = await import('./audio/stream.ts')
      return { result: await analyse(task), transfer: [] }
    }
    case 'cut': {
      const { cut } = await import('./audio/stream.ts')
      const result = cut(task)
      return { result, transfer: [result.buffer] }
    }
  }
}
