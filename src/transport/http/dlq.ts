import { Type } from '@sinclair/typebox'
import {
  type DeadLetter,
  DeadLetterDetail,
  DeadLetterList,
  JobStarted,
  RedriveSelection,
} from '../../contracts/http.ts'
import type { PayloadPage } from '../../ingest/dead-letters.ts'
import { batchName, hex, isoTime } from '../../ingest/session-report.ts'
import { limits } from '../../limits.ts'
import type { DeadLetterRow } from '../../store/interfaces.ts'
import { Reply, type RequestContext, route } from '../route.ts'
import { startedJob } from './jobs.ts'
import { findSession, listCursor, nextCursorOf, numberCursor, PageQuery } from './session-params.ts'

const base = '/api/streaming/dlq'
const DeadLetterParams = Type.Object({
  deadLetterId: Type.String({ description: 'the dead letter, as the list names it' }),
})

export const listDeadLetters = route({
  method: 'GET',
  path: base,
  summary: 'Batches that were given up, newest first',
  scope: 'dlq',
  query: Type.Object({
    sessionId: Type.Optional(Type.String()),
    errorCode: Type.Optional(Type.String()),
    ...PageQuery,
  }),
  replies: { 200: DeadLetterList },
  errors: ['SESSION_NOT_FOUND'],
  handle: ({ query }, context) => {
    const { tenant } = context
    const limit = query.limit ?? limits.pageLimitDefault
    const session =
      query.sessionId === undefined ? null : findSession(context, tenant, query.sessionId)
    const filter = {
      ...(session === null ? {} : { session: session.number }),
      ...(query.errorCode === undefined ? {} : { code: query.errorCode }),
    }
    const page = context.deadLetters.list(tenant, filter, limit, listCursor(query.cursor))
    return {
      deadLetters: page.rows.map((row) => deadLetterReport(context, row)),
      nextCursor: nextCursorOf(page),
    }
  },
})

export const readDeadLetter = route({
  method: 'GET',
  path: `${base}/:deadLetterId`,
  summary: 'A dead letter with its history and a page of its payload',
  scope: 'dlq',
  params: DeadLetterParams,
  query: Type.Object({
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: limits.deadLetterPayloadMax })),
    cursor: Type.Optional(Type.String({ description: 'payload.nextCursor of the page before' })),
  }),
  replies: { 200: DeadLetterDetail },
  errors: ['DEAD_LETTER_NOT_FOUND'],
  handle: async ({ params, query }, context) => {
    const row = context.deadLetters.find(context.tenant, params.deadLetterId)
    const limit = query.limit ?? limits.deadLetterPayloadDefault
    const page = await context.deadLetters.payload(row, numberCursor(query.cursor), limit)
    const history = row.history.map(({ attempt, atMs, code, message }) => ({
      attempt,
      failedAt: isoTime(atMs),
      errorCode: code,
      message,
    }))
    const head = JSON.stringify({ ...deadLetterReport(context, row), history })
    const open = `${head.slice(0, -1)},"payload":`
    return new Reply(200, Buffer.concat([Buffer.from(open), payloadText(page), Buffer.from('}')]))
  },
})

export const redriveDeadLetter = route({
  method: 'POST',
  path: `${base}/:deadLetterId/retry`,
  summary: 'Redrive a dead letter: its batch is tried again from the start, as a job',
  scope: 'dlq',
  params: DeadLetterParams,
  replies: { 202: JobStarted },
  errors: ['DEAD_LETTER_NOT_FOUND', 'STORE_FULL'],
  handle: async ({ params }, context) => {
    const deadLetterIds = [params.deadLetterId]
    const job = await context.deadLetters.redrive(context.principal, { deadLetterIds })
    return startedJob(context, job)
  },
})

export const redriveDeadLetters = route({
  method: 'POST',
  path: `${base}/retry`,
  summary: 'Redrive all dead letters that match a selection, as one job',
  scope: 'dlq',
  body: RedriveSelection,
  replies: { 202: JobStarted },
  errors: ['DEAD_LETTER_NOT_FOUND', 'SESSION_NOT_FOUND', 'STORE_FULL'],
  handle: async ({ body }, context) =>
    startedJob(context, await context.deadLetters.redrive(context.principal, body)),
})

export const dropDeadLetter = route({
  method: 'DELETE',
  path: `${base}/:deadLetterId`,
  summary: 'Drop a dead letter with the records that it holds',
  scope: 'dlq',
  params: DeadLetterParams,
  replies: { 204: 'it is gone' },
  errors: ['DEAD_LETTER_NOT_FOUND', 'STORE_FULL'],
  handle: async ({ params }, context) => {
    await context.deadLetters.drop(context.principal, params.deadLetterId)
    return new Reply(204, null)
  },
})

function deadLetterReport({ store }: RequestContext, row: DeadLetterRow): DeadLetter {
  return {
    deadLetterId: row.id,
    sessionId: store.sessions.get(row.session)?.id ?? '',
    batchId: batchName(row.batch),
    recordCount: row.records,
    errorCode: row.code,
    message: row.message,
    attempts: row.history.at(-1)?.attempt ?? 0,
    firstFailedAt: isoTime(row.firstFailedAtMs),
    deadLetteredAt: isoTime(row.deadAtMs),
  }
}

function payloadText(page: PayloadPage): Uint8Array {
  if (page.kind === 'unreadable') {
    return json({ kind: 'records', unreadable: page.message, nextCursor: null })
  }
  const nextCursor = page.next === null ? null : String(page.next)
  if (page.kind !== 'records') {
    const items = page.items.map(({ hash, byteLength, metadata }) => ({
      hash: hex(hash),
      bytes: byteLength,
      metadata,
    }))
    return json({ kind: page.kind, items, nextCursor })
  }
  const tail = `],"nextCursor":${JSON.stringify(nextCursor)}}`
  const head = Buffer.from('{"kind":"records","records":[')
  return Buffer.concat([head, page.bytes, Buffer.from(tail)])
}

function json(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value))
}
