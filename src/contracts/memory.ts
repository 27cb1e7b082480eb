import { type Static, Type } from '@sinclair/typebox'
import { limits } from '../limits.ts'

const Content = Type.String({
  minLength: 1,
  maxLength: limits.memoryContentCharsMax,
  description: `a text of at most ${limits.memoryContentBytesMax} bytes as JSON in UTF-8,`,
})
const Title = Type.String({ maxLength: limits.memoryTitleCharsMax })
export const MemoryType = Type.String({ minLength: 1, maxLength: limits.memoryTypeCharsMax })
export const Tag = Type.String({ minLength: 1, maxLength: limits.memoryTagCharsMax })
const Tags = Type.Array(Tag, { maxItems: limits.memoryTagsMax, uniqueItems: true })
export const FilterTags = Type.Array(Tag, {
  maxItems: limits.memoryTagsMax,
  description: 'tags that a memory must all bear; in a query commas separate them,',
})
const Metadata = Type.Record(Type.String(), Type.Unknown(), {
  description: `an object of at most ${limits.memoryMetadataBytesMax} bytes as JSON`,
})
const Instant = Type.String({ format: 'date-time' })
const orNull = <T extends ReturnType<typeof Type.String>>(schema: T) =>
  Type.Union([schema, Type.Null()])

const tenantId = Type.Optional(
  Type.Integer({ minimum: 0, description: "the key's own; it need not be named" }),
)

export const CreateMemory = Type.Object(
  {
    tenantId,
    content: Content,
    title: Type.Optional(orNull(Title)),
    type: Type.Optional(orNull(MemoryType)),
    tags: Type.Optional(Tags),
    metadata: Type.Optional(Metadata),
  },
  { additionalProperties: false },
)
export type CreateMemory = Static<typeof CreateMemory>

/**
 * What is absent stays as it is. Tags are replaced; metadata is merged member by member, and a null
 * removes one (RFC 7396, at the first level).
 */
export const UpdateMemory = Type.Partial(CreateMemory, { minProperties: 1 })
export type UpdateMemory = Static<typeof UpdateMemory>

export const Memory = Type.Object({
  id: Type.String({ description: 'mem_ and 16 hexadecimal digits' }),
  content: Type.String(),
  title: Type.Union([Type.String(), Type.Null()]),
  type: Type.Union([Type.String(), Type.Null()]),
  tags: Type.Array(Type.String()),
  metadata: Type.Record(Type.String(), Type.Unknown()),
  created_at: Instant,
  created_by: Type.String(),
  updated_at: Instant,
  updated_by: Type.String(),
})
export type Memory = Static<typeof Memory>

export const MemoryList = Type.Object({
  data: Type.Array(Memory),
  total: Type.Integer({ description: 'memories that match, on all pages' }),
  limit: Type.Integer(),
  offset: Type.Integer(),
})
export type MemoryList = Static<typeof MemoryList>

const FilterText = Type.String({ maxLength: limits.memoryFilterTextCharsMax })
// Any character, a line break too.
const FilterName = Type.String({ pattern: `^[\\s\\S]{0,${limits.memoryFilterNameCharsMax}}$` })

export const SearchMemories = Type.Object(
  {
    tenantId,
    query: Type.String({ minLength: 1, maxLength: limits.memoryQueryCharsMax }),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: limits.memoriesPageLimitMax })),
    type: Type.Optional(MemoryType),
    tags: Type.Optional(FilterTags),
    metadata: Type.Optional(
      Type.Record(FilterName, Type.Union([FilterText, Type.Number(), Type.Boolean()]), {
        description:
          'members that a memory must have, with these values, ' +
          `their names of at most ${limits.memoryFilterNameCharsMax} characters,`,
        maxProperties: limits.memoryFilterMembersMax,
        additionalProperties: false,
      }),
    ),
  },
  { additionalProperties: false },
)
export type SearchMemories = Static<typeof SearchMemories>

export const MemoryMatches = Type.Object({
  results: Type.Array(
    Type.Composite([
      Memory,
      Type.Object({ score: Type.Number({ description: 'greater is better' }) }),
    ]),
  ),
  total: Type.Integer({ description: 'memories that match' }),
  execution_time: Type.Number({ description: 'milliseconds' }),
})
export type MemoryMatches = Static<typeof MemoryMatches>
