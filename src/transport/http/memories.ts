import { Type } from '@sinclair/typebox'
import {
  CreateMemory,
  FilterTags,
  Memory,
  MemoryList,
  MemoryMatches,
  MemoryType,
  SearchMemories,
  UpdateMemory,
} from '../../contracts/memory.ts'
import { limits } from '../../limits.ts'
import { Reply, type RequestContext, route } from '../route.ts'
import { requireOwnTenant } from './own-tenant.ts'

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
  errors: ['TENANT_MISMATCH', 'STORE_FULL', 'SATURATED'],
  handle: async ({ body }, { principal, memories, baseUrl }) => {
    requireOwnTenant(body, principal.tenant)
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
    tags: Type.Optional(FilterTags),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: limits.memoriesPageLimitMax })),
    offset: Type.Optional(Type.Integer({ minimum: 0, maximum: limits.memoryOffsetMax })),
  }),
  replies: { 200: MemoryList },
  errors: ['SATURATED'],
  handle: async ({ query }, { tenant, memories, signal, hold }) =>
    new Reply(200, await memories.list(tenant, { ...query, signal, hold })),
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
  errors: ['MEMORY_NOT_FOUND', 'TENANT_MISMATCH', 'STORE_FULL', 'SATURATED'],
  handle: ({ params, body }, { principal, memories }) => {
    requireOwnTenant(body, principal.tenant)
    return memories.update(principal, params.memoryId, body)
  },
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
  errors: ['TENANT_MISMATCH', 'SEARCH_NOT_READY', 'SATURATED'],
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

async function runSearch(
  { tenantId, ...request }: SearchMemories,
  context: RequestContext,
): Promise<Reply> {
  const { principal, memories, signal, isHead, hold } = context
  requireOwnTenant({ tenantId }, principal.tenant)
  return new Reply(200, await memories.search(principal, request, { signal, hold, untold: isHead }))
}
