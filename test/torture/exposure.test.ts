import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Type } from '@sinclair/typebox'
import { route } from '../../src/transport/route.ts'
import { exposureFault } from './exposure.ts'
import { plainRequest, targetsOf } from './exposure-cases.ts'
import { masked } from './exposure-wire.ts'
import { faultTest } from './in-test.ts'

faultTest(
  'what another tenant has is told from what nobody has by no route, key or id',
  exposureFault,
)

test('what may differ between two replies is masked, and nothing else', () => {
  const reply = (id: string, more: Partial<Parameters<typeof masked>[0]> = {}) => {
    const body = `{"code":"NOT_FOUND","id":"${id}","requestId":"r-${id}"}`
    const length: [string, string] = ['content-length', String(body.length)]
    const headers: [string, string][] = [['x-request-id', `r-${id}`], ['date', id], length]
    return masked({ status: 404, headers, body, ...more }, [id])
  }
  const expected = reply('one')
  assert.equal(reply('another'), expected)
  const body = '{"code":"NOT_FOUND","id":"one","requestId":"r"}'
  const different: Parameters<typeof reply>[1][] = [
    { status: 403 },
    { headers: [['x-request-id', 'r']] },
    { headers: [['content-length', '1']] },
    { body: `${body} ` },
    { body: body.replace('NOT_FOUND', 'GONE') },
    { body: body.replace('"one"', '"ONE"') },
  ]
  for (const more of different) assert.notEqual(reply('one', more), expected, JSON.stringify(more))
})

test('a route that the matrix cannot fill is named, with what it lacks', () => {
  const made = route({
    method: 'POST',
    path: '/api/things/:thingId',
    summary: 'A new route',
    scope: 'sessions:write',
    params: Type.Object({ thingId: Type.String() }),
    body: Type.Object({ name: Type.String() }),
    replies: {},
    errors: [],
    handle: () => null,
  })
  const nobody = {
    number: 1,
    marker: '',
    key: '',
    sessionIds: [],
    secrets: new Set<string>(),
    things: new Map(),
  }
  assert.throws(() => targetsOf(made, nobody, nobody), /\/api\/things\/:thingId.*"thingId"/)
  assert.throws(() => plainRequest(made, made.path), /\/api\/things\/:thingId.*a body/)
})
