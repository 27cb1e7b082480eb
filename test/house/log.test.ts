import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createLogger } from '../../src/log.ts'

function capture(): { lines: string[]; write(line: string): void } {
  const lines: string[] = []
  return { lines, write: (line) => void lines.push(line) }
}

test('a line is one JSON object with level, RFC 3339 time and message', () => {
  const sink = capture()
  createLogger('info', sink).info({ url: 'http://127.0.0.1:1' }, 'listening')
  assert.equal(sink.lines.length, 1)
  const line = JSON.parse(sink.lines[0] ?? '') as Record<string, string>
  assert.deepEqual(Object.keys(line), ['level', 'time', 'url', 'msg'])
  assert.equal(line.level, 'info')
  assert.equal(line.msg, 'listening')
  assert.equal(new Date(line.time ?? '').toISOString(), line.time)
})

test('what is below the level is not logged', () => {
  const sink = capture()
  const log = createLogger('warn', sink)
  log.info('quiet')
  log.warn('loud')
  assert.equal(sink.lines.length, 1)
  createLogger('silent', sink).fatal('nothing')
  assert.equal(sink.lines.length, 1)
})

test('no key and no ticket reaches the log from headers, URLs or settings', () => {
  const sink = capture()
  const log = createLogger('info', sink)
  const headers = {
    authorization: 'Bearer SECRET',
    'x-api-key': 'SECRET',
    'sec-websocket-protocol': 'bearer, SECRET',
  }
  log.info({ ...headers, ticket: 'SECRET', apiKey: 'SECRET' }, 'flat')
  log.info({ headers, config: { apiKey: 'SECRET' } }, 'nested')
  log.info({ request: { headers } }, 'deeper')
  log.info({ url: '/events?ticket=SECRET&x=1', path: '/events?x=1&ticket=SECRET' }, 'url')
  log.child(headers).info('child')
  assert.equal(sink.lines.length, 5)
  for (const line of sink.lines) assert(!line.includes('SECRET'), line)
  assert.match(sink.lines[3] ?? '', /\?ticket=\[redacted\]&x=1/)
})

test('what looks like a key or a ticket reaches the log from no message', () => {
  const sink = capture()
  const key = `as_${'k'.repeat(43)}`
  const payload = Buffer.from(JSON.stringify(['key_SECRET', 0])).toString('base64url')
  const ticket = `${payload}.${'s'.repeat(43)}`
  const log = createLogger('info', sink)
  const error = Object.assign(new Error(`failed for ${key} and ${ticket}`), { given: key })
  log.error({ err: error, list: [key, { deep: { deeper: ticket } }] }, `at ?ticket=${ticket}`)
  log.error({ err: new Error('cannot read "Authorization: Bearer own-key-SECRET"') }, key)
  for (const line of sink.lines) {
    assert.doesNotMatch(line, /SECRET|kkk|sss/)
    assert.ok(!line.includes(payload))
    assert.equal(JSON.parse(line).level, 'error')
  }
})

test('nothing that a line tells ends the line or drives a terminal', () => {
  const sink = capture()
  const nasty =
    'a\r\n\u0085\u2028\u2029\v\f\0\u001b[2J\u009b2J\u007f\u202e\u2066"}\n{"level":"fatal"}'
  createLogger('info', sink).warn({ name: nasty, [nasty]: nasty, err: new Error(nasty) }, nasty)
  const [line = ''] = sink.lines
  assert.equal(sink.lines.length, 1)
  assert.ok(line.endsWith('}\n'))
  assert.doesNotMatch(line.slice(0, -1), /[\p{Cc}\u2028\u2029\u202e\u2066]/u)
  const fact = JSON.parse(line) as Record<string, string>
  assert.equal(fact.level, 'warn')
  assert.equal(fact.name, nasty)
  assert.equal(fact[nasty], nasty)
  assert.equal(fact.msg, nasty)
})
