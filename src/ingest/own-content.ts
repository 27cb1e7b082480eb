import { borrowCopy, keepLarge } from '../contracts/body-buffers.ts'
import type { DecodedContent, DecodeUpload, DecodeVerdict } from '../contracts/tasks.ts'
import type { SessionRow } from '../store/interfaces.ts'
import { isStreamed } from './stream-stage.ts'

/**
 * A verdict whose frames or buffers lie in the shared body that they came in, with them in memory that the
 * store can read. That goes back with the body, once the upload is answered and so on disk; but where
 * frames are selected or audio is cut a batch may be at work for longer, so there it is nobody else's.
 */
export function withOwnContent(
  verdict: DecodeVerdict,
  session: SessionRow,
  { body, byteLength }: DecodeUpload,
): DecodeVerdict {
  if (verdict.kind !== 'accepted' || verdict.content.kind !== 'media') return verdict
  if (body instanceof ArrayBuffer || verdict.content.buffer instanceof ArrayBuffer) return verdict
  const buffer = isStreamed(session)
    ? new Uint8Array(new Uint8Array(body, 0, byteLength)).buffer
    : borrowCopy(body, byteLength)
  return { ...verdict, content: { ...verdict.content, buffer } }
}

/** What an upload that is answered has come in is for the next, unless a batch may be at work on it. */
export function keepContent(content: DecodedContent, session: SessionRow): void {
  if (content.kind !== 'media' || isStreamed(session)) return
  if (content.buffer instanceof ArrayBuffer) keepLarge(content.buffer)
}
