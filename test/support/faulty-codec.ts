import { appendFileSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { threadId } from 'node:worker_threads'
import type { WorkerTask } from '../../src/contracts/tasks.ts'
import codec from '../../workers/codec.ts'
import { type FaultMark, faultsFolderVariable, type InflictedFault } from './faulty-mark.ts'

const markPattern =
  /fault:(?:decode|merge|read|aggregate|select|analyse|cut):(?:exit|throw|heap|hang|pause):(?:always|\d+):[\w-]+;/g

/** How long a `pause` keeps its thread from everything else. */
const pauseMs = 300

/** Does the task by the real codecs, unless a mark in its bytes says which fault to commit first. */
export default async function faultyCodec(task: WorkerTask): Promise<unknown> {
  for (const mark of marksOf(task)) {
    if (mark.task === task.kind && isDue(mark)) commit(mark.fault)
  }
  return codec(task)
}

/** Each mark once, however many records bear it. */
function marksOf(task: WorkerTask): FaultMark[] {
  const texts = bytesOf(task).flatMap((bytes) => {
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
    return text.match(markPattern) ?? []
  })
  return [...new Set(texts)].map((text) => {
    const [kind, fault, times = '', name = ''] = text.slice('fault:'.length, -1).split(':')
    return {
      task: kind as FaultMark['task'],
      fault: fault as InflictedFault,
      times: times === 'always' ? times : Number(times),
      name,
    }
  })
}

function bytesOf(task: WorkerTask): Uint8Array[] {
  switch (task.kind) {
    case 'decode':
      return task.uploads.map(({ body, byteLength }) => new Uint8Array(body, 0, byteLength))
    case 'merge':
      return [...task.pages]
    case 'read':
      return task.blocks.map(({ bytes }) => bytes)
    case 'aggregate':
      return [new Uint8Array(task.buffer)]
    case 'combine':
      return []
    case 'select':
      return task.frames.flatMap(({ bytes }) => bytes ?? [])
    case 'analyse':
    case 'cut':
      return task.buffers.map(({ bytes }) => bytes)
  }
}

/** A byte in a file for each time, because the thread that counts does not outlive the fault. */
function isDue({ times, name }: FaultMark): boolean {
  // biome-ignore lint/style/noNonNullAssertion: whoever starts such a worker sets it.
  const path = join(process.env[faultsFolderVariable]!, name)
  appendFileSync(path, '.')
  return times === 'always' || readFileSync(path).byteLength <= times
}

function commit(fault: InflictedFault): void {
  switch (fault) {
    case 'exit':
      process.exit(7)
      break
    case 'throw':
      throw new Error(`thread ${threadId} throws on purpose`)
    case 'heap': {
      const hoard: number[][] = []
      for (;;) hoard.push(new Array<number>(1_000_000).fill(0.5))
    }
    case 'hang':
      for (;;);
    case 'pause':
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs)
  }
}
