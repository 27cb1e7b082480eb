import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { SchemaDefinition } from '../../src/contracts/schema.ts'
import { limits } from '../../src/limits.ts'
import { Client } from '../support/client.ts'
import { addKey, openDoor, ownKey } from './door.ts'

const path = '/api/streaming/schemas'

interface Page {
  readonly schemas: readonly SchemaDefinition[]
  readonly nextCursor: string | null
}

function schemaOf(number: number): SchemaDefinition {
  const name = `s${String(number).padStart(4, '0')}`
  return { schemaName: name, schemaVersion: '1', fields: [{ name: 'a', type: 'float' }] }
}

/** A schema of about so many bytes: the longest enum values that fill it. */
function largeSchema(number: number, bytes: number): SchemaDefinition {
  const value = 'x'.repeat(1_000)
  const values = Array.from({ length: Math.ceil(bytes / 1_003) }, (_, at) => `${value}${at}`)
  const field = { name: 'a', type: 'string' as const, validation: { enum: values } }
  return { ...schemaOf(number), fields: [field] }
}

async function pages(client: Client, query: Record<string, number> = {}): Promise<Page[]> {
  const found: Page[] = []
  let cursor: string | null = null
  do {
    const reply = await client.get(path, { ...query, ...(cursor === null ? {} : { cursor }) })
    assert.equal(reply.status, 200, reply.text)
    const page = reply.json as Page
    found.push(page)
    cursor = page.nextCursor
  } while (cursor !== null)
  return found
}

test('a tenant registers so many schemas and no more, also two at once', async (t) => {
  const door = await openDoor(t)
  const client = new Client(door.url, ownKey)
  const register = (number: number, by = client) => by.raw('POST', path, { json: schemaOf(number) })
  await door.store.commit((tx) => {
    for (let number = 1; number < limits.schemasMax; number += 1) tx.putSchema(0, schemaOf(number))
  })
  const last = await Promise.all([5_000, 5_001, 5_002].map((number) => register(number)))
  assert.deepEqual(last.map(({ status }) => status).sort(), [201, 409, 409])
  const refused = (await register(5_003)).refused(409, 'SCHEMA_LIMIT_REACHED')
  assert.equal(refused.maxSchemas, limits.schemasMax)
  assert.equal((await register(1)).status, 200, 'one that is there stays as it is')
  const { key } = await addKey(door.store, 9, ['admin'])
  assert.equal((await register(1, new Client(door.url, key))).status, 201)
  const [all] = await pages(client)
  assert.equal(all?.schemas.length, limits.schemasMax)
})

test('schemas are listed page by page, each once and in order', async (t) => {
  const door = await openDoor(t)
  const client = new Client(door.url, ownKey)
  await door.store.commit((tx) => {
    for (let number = 0; number < 25; number += 1) tx.putSchema(0, schemaOf(number))
    tx.putSchema(0, { ...schemaOf(7), schemaVersion: '1.1' })
    tx.putSchema(1, schemaOf(99))
  })
  const found = await pages(client, { limit: 10 })
  assert.deepEqual(
    found.map(({ schemas }) => schemas.length),
    [10, 10, 6],
  )
  const names = found.flatMap(({ schemas }) =>
    schemas.map(({ schemaName, schemaVersion }) => `${schemaName}/${schemaVersion}`),
  )
  assert.deepEqual(names, [...new Set(names)].sort())
  for (const cursor of ['x', 's0001', 's0001/1/2', '/', 's\u0000/1', `${'s'.repeat(200)}/1`]) {
    ;(await client.get(path, { cursor })).refused(400, 'INVALID_PARAMETER')
  }
})

test('a page of large schemas ends by its bytes', async (t) => {
  const door = await openDoor(t)
  const client = new Client(door.url, ownKey)
  await door.store.commit((tx) => {
    for (let number = 0; number < 20; number += 1) tx.putSchema(0, largeSchema(number, 100_000))
  })
  const found = await pages(client)
  assert.ok(found.length >= 2)
  for (const { schemas } of found) {
    assert.ok(JSON.stringify(schemas).length <= limits.schemasPageBytesMax + 1_000)
  }
  assert.equal(found.flatMap(({ schemas }) => schemas).length, 20)
})

test('a definition is bounded by its bytes, registered and inline', async (t) => {
  const door = await openDoor(t)
  const client = new Client(door.url, ownKey)
  const large = largeSchema(1, limits.schemaBytesMax)
  const registered = await client.raw('POST', path, { json: large })
  assert.equal(registered.refused(422, 'INVALID_BODY').field, 'schema')
  const start = (fields: SchemaDefinition['fields']) =>
    client.raw('POST', '/api/streaming/sessions/start', {
      json: { sessionType: 'telemetry', schema: { fields } },
    })
  ;(await start(large.fields)).refused(422, 'INVALID_BODY')
  const most = Array.from({ length: limits.schemaFieldsMax }, (_, at) => ({
    name: `temperature_${at}`,
    type: 'float' as const,
    required: true,
    validation: { min: -50, max: 150 },
  }))
  assert.equal((await start(most)).status, 200)
})
