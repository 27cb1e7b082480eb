import { Type } from '@sinclair/typebox'
import { checkDefinition } from '../../codecs/telemetry/schema.ts'
import { invalidParameter, Refusal } from '../../contracts/errors.ts'
import { SchemaDefinition } from '../../contracts/schema.ts'
import { limits } from '../../limits.ts'
import { Reply, route } from '../route.ts'

const base = '/api/streaming/schemas'

export const registerSchema = route({
  method: 'POST',
  path: base,
  summary: 'Register a telemetry schema; a name and version never change',
  scope: 'sessions:write',
  body: SchemaDefinition,
  replies: { 200: SchemaDefinition, 201: SchemaDefinition },
  errors: ['SCHEMA_EXISTS', 'SCHEMA_LIMIT_REACHED', 'STORE_FULL'],
  handle: async ({ body }, { tenant, user, store }) => {
    checkDefinition(body)
    const { schemaName: name, schemaVersion: version } = body
    const isNew = await store.commit((transaction) => {
      if (!transaction.putSchema(tenant, body)) return false
      transaction.appendActivity(tenant, {
        user,
        action: 'create',
        resourceType: 'schema',
        resourceId: `${name}/${version}`,
        metadata: { name, version },
      })
      return true
    })
    return new Reply(isNew ? 201 : 200, body)
  },
})

export const listSchemas = route({
  method: 'GET',
  path: base,
  summary: 'List registered schemas',
  scope: 'sessions:read',
  query: Type.Object({
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: limits.schemasPageLimitMax })),
    cursor: Type.Optional(Type.String({ description: 'nextCursor of the page before' })),
  }),
  replies: {
    200: Type.Object({
      schemas: Type.Array(SchemaDefinition),
      nextCursor: Type.Union([Type.String(), Type.Null()]),
    }),
  },
  errors: [],
  handle: ({ query }, { tenant, store }) => {
    const limit = query.limit ?? limits.schemasPageLimitMax
    const schemas: SchemaDefinition[] = []
    let bytes = 0
    let nextCursor: string | null = null
    for (const schema of store.schemas.list(tenant, placeOf(query.cursor))) {
      const last = schemas.at(-1)
      const schemaBytes = Buffer.byteLength(JSON.stringify(schema))
      const isFull = schemas.length === limit || bytes + schemaBytes > limits.schemasPageBytesMax
      if (last !== undefined && isFull) {
        nextCursor = `${last.schemaName}/${last.schemaVersion}`
        break
      }
      schemas.push(schema)
      bytes += schemaBytes
    }
    return { schemas, nextCursor }
  },
})

const namePattern = new RegExp(SchemaDefinition.properties.schemaName.pattern ?? '')
const versionPattern = new RegExp(SchemaDefinition.properties.schemaVersion.pattern ?? '')

/** Whether a schema could be registered under these at all. */
function isShaped(name: string, version: string): boolean {
  return namePattern.test(name) && versionPattern.test(version)
}

/** A cursor is the name and version of a page's last schema. Throws Refusal `INVALID_PARAMETER`. */
function placeOf(cursor: string | undefined): { name: string; version: string } | null {
  if (cursor === undefined) return null
  const [name = '', version = '', ...rest] = cursor.split('/')
  if (rest.length > 0 || !isShaped(name, version)) {
    throw invalidParameter('cursor', 'nextCursor of the page before')
  }
  return { name, version }
}

export const readSchema = route({
  method: 'GET',
  path: `${base}/:name/:version`,
  summary: 'Read one schema',
  scope: 'sessions:read',
  params: Type.Object({ name: Type.String(), version: Type.String() }),
  replies: { 200: SchemaDefinition },
  errors: ['SCHEMA_NOT_FOUND'],
  handle: ({ params }, { tenant, store }) => {
    const { name, version } = params
    const definition = isShaped(name, version) ? store.schemas.get(tenant, name, version) : null
    if (definition === null) {
      throw new Refusal('SCHEMA_NOT_FOUND', {
        fields: { schemaName: name, schemaVersion: version },
      })
    }
    return definition
  },
})
