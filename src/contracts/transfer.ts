import assert from 'node:assert/strict'
import { limits } from '../limits.ts'
import type {
  AggregateResult,
  CombineResult,
  DecodeUpload,
  DecodeVerdict,
  EncodedPage,
  IntervalPart,
  ReadResult,
  WorkerTask,
} from './tasks.ts'

/** The buffers of each message between threads that are moved instead of copied. */

/** Whether the sender keeps an upload's body while a worker has it. */
export function isKept({ body }: DecodeUpload): boolean {
  return body instanceof SharedArrayBuffer || body.byteLength <= limits.copiedBodyBytesMax
}

/** The buffers of a task: large bodies, pages, blocks, frames and audio. */
export function taskBuffers(task: WorkerTask): ArrayBuffer[] {
  switch (task.kind) {
    case 'decode':
      return task.uploads.filter((upload) => !isKept(upload)).map(({ body }) => body as ArrayBuffer)
    case 'merge':
      return task.pages.map(ownBuffer)
    case 'read':
      return task.blocks.map(({ bytes }) => ownBuffer(bytes))
    case 'aggregate':
      return [task.buffer]
    case 'combine':
      return task.parts.flatMap(partBuffers)
    case 'select':
      return task.frames.flatMap(({ bytes }) => (bytes === null ? [] : [ownBuffer(bytes)]))
    case 'analyse':
    case 'cut':
      return task.buffers.map(({ bytes }) => ownBuffer(bytes))
  }
}

/** The buffers of the results of decode tasks: pages, bodies or what was decoded of them, rejections. */
export function verdictBuffers(verdicts: readonly DecodeVerdict[]): ArrayBuffer[] {
  const buffers: ArrayBuffer[] = []
  for (const verdict of verdicts) {
    if (verdict.kind !== 'accepted') continue
    const { content, rejected } = verdict
    for (const { bytes } of rejected.chunks) buffers.push(ownBuffer(bytes))
    if (content.kind === 'page') buffers.push(ownBuffer(content.page.bytes))
    else if (content.buffer instanceof ArrayBuffer) buffers.push(content.buffer)
  }
  return buffers
}

export function pageBuffers(page: EncodedPage): ArrayBuffer[] {
  return [ownBuffer(page.bytes)]
}

export function readBuffers(result: ReadResult): ArrayBuffer[] {
  return [ownBuffer(result.bytes)]
}

export function aggregateBuffers({ buffer, part }: AggregateResult): ArrayBuffer[] {
  return part === null ? [buffer] : [buffer, ...partBuffers(part)]
}

export function combineBuffers(result: CombineResult): ArrayBuffer[] {
  switch (result.kind) {
    case 'part':
      return partBuffers(result.part)
    case 'text':
      return [ownBuffer(result.bytes)]
    case 'too-large':
      return []
  }
}

function partBuffers({ intervals, places, values }: IntervalPart): ArrayBuffer[] {
  return [intervals, places, values].map(ownBuffer)
}

/** The buffer of bytes that have one of their own: to move it would rob nobody else. */
function ownBuffer(bytes: ArrayBufferView): ArrayBuffer {
  const { buffer } = bytes
  assert(buffer instanceof ArrayBuffer, 'shared memory cannot be moved')
  assert(bytes.byteLength === buffer.byteLength, 'bytes to be moved fill their buffer')
  return buffer
}
