import assert from 'node:assert/strict'
import { test } from 'node:test'
import { faultTest } from './in-test.ts'
import { refusedCuts, segmentsFault } from './segments.ts'

faultTest('wherever a request is cut into two segments, its reply is the same', segmentsFault)

test('the cuts that the library refuses are the eleven of each request line', () => {
  const request = 'GET /a HTTP/1.1\r\nHost: b\r\n\r\n'
  const expected = [4, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]
  assert.deepEqual(
    [...refusedCuts(request)].sort((a, b) => a - b),
    expected,
  )
  assert.equal(refusedCuts(request + request).size, 22)
})
