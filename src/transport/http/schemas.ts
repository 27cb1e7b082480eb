import { Type } from '@sinclair/typebox'
import { checkDefinition } from '../../codecs/telemetry/schema.ts'
import { Refusal } from '../../contracts/errors.ts'
import { SchemaDefinition } from '../../contracts/schema.ts'
import { Reply, route } from '../route.ts'

const base = '/api/streaming/schemas'

export const registerSchema = route({
  method: 'POST',
  path: base,
  summary: 'Register a telemetry schema; a name and version never change',
  scope: 'sessions:write',
  body: SchemaDefinition,
  replies: { 200: SchemaDefinition, 201: SchemaDefinition },
  errors: ['SCHEMA_EXISTS', 'STORE_FULL'],
  handle: async ({ body }, { tenant, store }) => {
    checkDefinition(body)
    const isNew = await store.commit((transaction) => transaction.putSchema(tenant, body))
    return new Reply(isNew ? 201 : 200, body)
  },
})

export const listSchemas = route({
  method: 'GET',
  path: base,
  summary: 'List registered schemas',
  scope: 'sessions:read',
  replies: { 200: Type.Object({ schemas: Type.Array(SchemaDefinition) }) },
  errors: [],
  handle: (_, { tenant, store }) => ({ schemas: store.schemas.list(tenant) }),
})

const namePattern = new RegExp(SchemaDefinition.properties.schemaName.pattern ?? '')
const versionPattern = new RegExp(SchemaDefinition.properties.schemaVersion.pattern ?? '')

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
    const isShaped = namePattern.test(name) && versionPattern.test(version)
    const definition = isShaped ? store.schemas.get(tenant, name, version) : null
    if (definition === null) {
      throw new Refusal('SCHEMA_NOT_FOUND', {
        fields: { schemaName: name, schemaVersion: version },
      })
    }
    return definition
  },
})
