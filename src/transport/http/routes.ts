import { openApiDocument } from '../openapi.ts'
import { Reply, type Route, route } from '../route.ts'
import { listAtoms, readAtom, readAtomRecord } from './atoms.ts'
import {
  dropDeadLetter,
  listDeadLetters,
  readDeadLetter,
  redriveDeadLetter,
  redriveDeadLetters,
} from './dlq.ts'
import { openSocket, streamEvents } from './events.ts'
import { healthRoutes } from './health.ts'
import { cancelJob, listJobs, readJobStatus } from './jobs.ts'
import {
  createMemory,
  deleteMemory,
  listMemories,
  readMemory,
  searchMemories,
  searchMemoriesByBody,
  updateMemory,
} from './memories.ts'
import { readRecords } from './records.ts'
import { listRejected } from './rejected.ts'
import { listSchemas, readSchema, registerSchema } from './schemas.ts'
import {
  cancelSession,
  endSession,
  listSessions,
  pauseSession,
  readSessionStatus,
  resumeSession,
  startSession,
} from './sessions.ts'
import { streamTenant } from './stream.ts'
import { makeTicket } from './tickets.ts'
import { uploadData } from './uploads.ts'

/** Every endpoint. `version` is the program's. */
export function allRoutes(version: string): readonly Route[] {
  const routes: Route[] = [
    startSession,
    listSessions,
    readSessionStatus,
    pauseSession,
    resumeSession,
    cancelSession,
    endSession,
    uploadData,
    readRecords,
    listAtoms,
    listRejected,
    streamEvents,
    openSocket,
    streamTenant,
    listJobs,
    readJobStatus,
    cancelJob,
    listDeadLetters,
    redriveDeadLetters,
    readDeadLetter,
    redriveDeadLetter,
    dropDeadLetter,
    makeTicket,
    registerSchema,
    listSchemas,
    readSchema,
    readAtom,
    readAtomRecord,
    createMemory,
    listMemories,
    searchMemories,
    searchMemoriesByBody,
    readMemory,
    updateMemory,
    deleteMemory,
    ...healthRoutes(version, performance.now()),
  ]
  const openApi = route({
    method: 'GET',
    path: '/openapi.json',
    summary: 'This document',
    scope: null,
    replies: { 200: 'application/json' },
    errors: [],
    handle: () => new Reply(200, text, { 'Content-Type': 'application/json' }),
  })
  const text: string = JSON.stringify(openApiDocument([...routes, openApi], version))
  return [...routes, openApi]
}
