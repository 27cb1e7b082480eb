import { TypeCompiler } from '@sinclair/typebox/compiler'
import { errorCatalogue } from '../../src/contracts/errors.ts'
import { UploadReply } from '../../src/contracts/http.ts'
import '../support/client.ts'
import type { WireReply } from './wire.ts'

const uploadReply = TypeCompiler.Compile(UploadReply)
/** What uWebSockets.js itself answers to a head that it cannot parse, without a body of ours. */
const parserStatuses: ReadonlySet<number> = new Set([400, 431, 505])
const mayBeBusy = 503
const busyCodes: ReadonlySet<string> = new Set(['SATURATED', 'SHUTTING_DOWN'])

/** Records of uploads that were acknowledged. */
export interface Counts {
  received: number
  kept: number
  rejected: number
}

/** What is wrong with the reply to an upload or another request; null where it is as it must be. */
export function judgeReply(reply: WireReply, upload: Counts | null): string | null {
  const { status, head, body } = reply
  if (status >= 500 && status !== mayBeBusy) return `status ${status}: ${body.slice(0, 300)}`
  if (status >= 400) return judgeError(parse(body), status)
  if (upload === null || status !== 200) {
    const isJson = /\r\ncontent-type: *application\/json/i.test(head)
    return isJson && parse(body) === undefined ? `${status} with what is no JSON` : null
  }
  return countAck(parse(body), upload)
}

/** Whether the HTTP parser has refused a head by itself and closed the connection. */
export function isOfParser({ status, body, isLast }: WireReply): boolean {
  return parserStatuses.has(status) && !body.startsWith('{') && isLast
}

/** An acknowledged upload must count what it was; its counts are added up. */
export function countAck(body: unknown, upload: Counts): string | null {
  if (!uploadReply.Check(body)) return `an ack that is none: ${JSON.stringify(body)}`
  const { recordsReceived, recordsProcessed, recordsQueued, recordsRejected } = body
  const kept = recordsProcessed + recordsQueued
  if (recordsReceived !== kept + recordsRejected) return 'an ack whose counts do not add up'
  upload.received += recordsReceived
  upload.kept += kept
  upload.rejected += recordsRejected
  return null
}

/** Every refusal bears the documented members, and a code of the catalogue that goes with its status. */
export function judgeError(body: unknown, status: number | null): string | null {
  if (typeof body !== 'object' || body === null) return `${status} with what is no JSON object`
  const { error, code, message, requestId } = body as Record<string, unknown>
  const texts = [error, code, message, requestId]
  if (texts.some((text) => typeof text !== 'string' || text === '')) {
    return `${status} without its members: ${JSON.stringify(body).slice(0, 300)}`
  }
  const entry = Object.entries(errorCatalogue).find(([name]) => name === code)?.[1]
  if (entry === undefined || entry.error !== error) return `unknown ${code}, ${error}`
  if (status !== null && entry.status !== status) return `${status} with ${code}`
  // A body that a worker fails on is no matter of too much work.
  const isOurs = entry.status >= 500 && !busyCodes.has(String(code))
  return isOurs ? `${status ?? 'rejected'} ${code}` : null
}

function parse(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}
