import assert from 'node:assert/strict'
import { limits } from '../limits.ts'
import type { DecodeUpload, DecodeVerdict, EncodedPage, ReadResult, WorkerTask } from './tasks.ts'

/** The buffers of each message between threads that are moved instead of copied. */

/** Whether the sender keeps an upload's body while a worker has it. */
export function isCopied({ body }: DecodeUpload): boolean {
  return body.byteLength <= limits.copiedBodyBytesMax
}

/** The buffers of a task: large bodies, pages, blocks, frames and audio. */
export function taskBuffers(task: WorkerTask): ArrayBuffer[] {
  switch (task.kind) {
    case 'decode':
      return task.uploads.filter((upload) => !isCopied(upload)).map(({ body }) => body)
    case 'merge':
      return task.pages.map(ownBuffer)
    case 'read':
      return task.blocks.map(({ bytes }) => ownBuffer(bytes))
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
    buffers.push(content.kind === 'media' ? content.buffer : ownBuffer(content.page.bytes))
  }
  return buffers
}

export function pageBuffers(page: EncodedPage): ArrayBuffer[] {
  return [ownBuffer(page.bytes)]
}

export function readBuffers(result: ReadResult): ArrayBuffer[] {
  return [ownBuffer(result.bytes)]
}

/** The buffer of bytes that have one of their own: to move it would rob nobody else. */
function ownBuffer(bytes: Uint8Array): ArrayBuffer {
  const { buffer } = bytes
  assert(buffer instanceof ArrayBuffer, 'shared memory cannot be moved')
  assert(bytes.byteLength === buffer.byteLength, 'bytes to be moved fill their buffer')
  return buffer
}
