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
