import { Type } from '@sinclair/typebox'
import {
  CreateMemory,
  Memory,
  MemoryList,
  MemoryMatches,
  MemoryType,
  SearchMemories,
  Tag,
  UpdateMemory,
} from '../../contracts/memory.ts'
import { limits } from '../../limits.ts'
import { Reply, type RequestContext, route } from '../route.ts'

const base = '/api/v1/memories'
const MemoryParams = Type.Object({
  memoryId: Type.String({ description: 'the memory, as its creation named it' }),
})

export const createMemory = route({
  method: 'POST',
  path: base,
  summary: 'Create a memory',
  scope: 'memories:write',
  body: CreateMemory,
  replies: { 201: Memory },
  errors: ['STORE_FULL', 'SATURATED'],
  handle: async ({ body }, { principal, memories, baseUrl }) => {
    const memory = await memories.create(principal, body)
    return new Reply(201, memory, { Location: `${baseUrl}${base}/${memory.id}` })
  },
})

export const listMemories = route({
  method: 'GET',
  path: base,
  summary: 'List memories, newest first',
  scope: 'memories:read',
  query: Type.Object({
    type: Type.Optional(MemoryType),
    tags: Type.Optional(
      Type.Array(Tag, { maxItems: limits.memoryTagsMax, description: 'a memory must bear all' }),
    ),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: limits.memoriesPageLimitMax })),
    offset: Type.Optional(Type.Integer({ minimum: 0, maximum: limits.memoryOffsetMax })),
  }),
  replies: { 200: MemoryList },
  errors: [],
  handle: ({ query }, { tenant, memories, signal }) => memories.list(tenant, { ...query, signal }),
})

export const readMemory = route({
  method: 'GET',
  path: `${base}/:memoryId`,
  summary: 'Read a memory',
  scope: 'memories:read',
  params: MemoryParams,
  replies: { 200: Memory },
  errors: ['MEMORY_NOT_FOUND'],
  handle: ({ params }, { tenant, memories }) => memories.get(tenant, params.memoryId),
})

export const updateMemory = route({
  method: 'PUT',
  path: `${base}/:memoryId`,
  summary: 'Change a memory: what is absent stays, tags are replaced, metadata is merged',
  scope: 'memories:write',
  params: MemoryParams,
  body: UpdateMemory,
  replies: { 200: Memory },
  errors: ['MEMORY_NOT_FOUND', 'STORE_FULL', 'SATURATED'],
  handle: ({ params, body }, { principal, memories }) =>
    memories.update(principal, params.memoryId, body),
})

export const deleteMemory = route({
  method: 'DELETE',
  path: `${base}/:memoryId`,
  summary: 'Delete a memory',
  scope: 'memories:write',
  params: MemoryParams,
  query: Type.Object({
    reason: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: limits.memoryReasonCharsMax,
        description: 'for the event that tells of it, user_request unless told: a text',
      }),
    ),
  }),
  replies: { 204: 'it is gone' },
  errors: ['MEMORY_NOT_FOUND', 'STORE_FULL', 'SATURATED'],
  handle: async ({ params, query }, { principal, memories }) => {
    await memories.remove(principal, params.memoryId, query.reason ?? 'user_request')
    return new Reply(204, null)
  },
})

const search = {
  path: `${base}/search`,
  scope: 'memories:read',
  replies: { 200: MemoryMatches },
  errors: ['SEARCH_NOT_READY', 'SATURATED'],
} as const

export const searchMemories = route({
  ...search,
  method: 'GET',
  summary: 'Search memories; metadata in brackets is compared as text',
  query: SearchMemories,
  handle: ({ query }, context) => runSearch(query, context),
})

export const searchMemoriesByBody = route({
  ...search,
  method: 'POST',
  summary: 'Search memories',
  body: SearchMemories,
  handle: ({ body }, context) => runSearch(body, context),
})

function runSearch(request: SearchMemories, { principal, memories }: RequestContext) {
  return memories.search(principal, request)
}
