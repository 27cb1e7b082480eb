import assert from 'node:assert/strict'
import { test } from 'node:test'
import { errorCatalogue } from '../../src/contracts/errors.ts'
import { mediaTypes } from '../../src/contracts/media.ts'
import { allRoutes } from '../../src/transport/http/routes.ts'
import { openDoor } from './door.ts'

interface Operation {
  responses: Record<string, { description: string; content?: Record<string, { schema: unknown }> }>
  parameters: { name: string; in: string; required: boolean; schema: unknown }[]
  requestBody?: { content: Record<string, unknown> }
  security: Record<string, unknown[]>[]
  operationId: string
}
interface Document {
  openapi: string
  info: { title: string; version: string }
  paths: Record<string, Record<string, Operation>>
  components: { schemas: Record<string, unknown>; securitySchemes: Record<string, unknown> }
}

async function readDocument(t: Parameters<typeof openDoor>[0]): Promise<Document> {
  const { url } = await openDoor(t)
  const reply = await fetch(`${url}/openapi.json`)
  assert.equal(reply.status, 200)
  return (await reply.json()) as Document
}

function references(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([name, member]) =>
    name === '$ref' ? [String(member)] : references(member),
  )
}

test('every route stands in the document with its parameters, replies and errors', async (t) => {
  const document = await readDocument(t)
  assert.match(document.openapi, /^3\.1/)
  const ids = new Set<string>()
  for (const route of allRoutes('0.0.0')) {
    const path = route.path.replace(/:(\w+)/g, '{$1}')
    const operation = document.paths[path]?.[route.method.toLowerCase()]
    assert.ok(operation, `${route.method} ${path}`)
    ids.add(operation.operationId)
    const inPath = operation.parameters.filter((parameter) => parameter.in === 'path')
    const named = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1])
    assert.deepEqual(
      inPath.map((parameter) => parameter.name),
      named,
    )
    for (const status of Object.keys(route.replies)) assert.ok(operation.responses[status])
    for (const code of route.errors) {
      const response = operation.responses[errorCatalogue[code].status]
      assert.ok(response?.description.split(', ').includes(code), `${code} of ${path}`)
    }
    assert.equal(operation.security.length > 0, route.scope !== null)
    for (const scheme of operation.security.flatMap(Object.keys)) {
      assert.ok(Object.hasOwn(document.components.securitySchemes, scheme))
    }
  }
  assert.equal(ids.size, Object.values(document.paths).flatMap(Object.keys).length)
})

test('every error of the catalogue is documented, and every reference leads somewhere', async (t) => {
  const document = await readDocument(t)
  for (const code of Object.keys(errorCatalogue)) {
    assert.ok(document.components.schemas[`Error.${code}`], code)
  }
  const found = references(document)
  assert.ok(found.length > 50)
  for (const reference of found) {
    const name = reference.replace('#/components/schemas/', '')
    assert.ok(document.components.schemas[name], reference)
  }
})

test('an upload is described as JSON, msgpack and media files for the three session types', async (t) => {
  const document = await readDocument(t)
  const upload = document.paths['/api/streaming/sessions/{sessionId}/upload']?.post
  const types = Object.keys(upload?.requestBody?.content ?? {})
  const files = Object.keys(mediaTypes)
  assert.deepEqual(types, ['application/json', 'application/msgpack', ...files])
  for (const name of ['TelemetryUpload', 'VideoUpload', 'AudioUpload']) {
    assert.ok(document.components.schemas[name])
  }
})
