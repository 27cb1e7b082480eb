import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { pack } from 'msgpackr'
import { tester } from '../support/actors.ts'
import { testRecords } from '../support/ingest.ts'
import { bearer, openDoor } from './door.ts'

/** A session with five records, of which the last has a field whose name needs quoting. */
async function openRecords(t: TestContext) {
  const door = await openDoor(t)
  const session = await door.sessions.start(tester, { sessionType: 'telemetry' })
  const base = `${door.url}/api/streaming/sessions/${session.id}`
  const records = testRecords(5)
  const last = records[4]
  if (last !== undefined) last.values = { temperature: 1, 'a,"b"': 'x,y' }
  const upload = (body: Uint8Array | string, type: string, encoding?: string) =>
    fetch(`${base}/upload`, {
      method: 'POST',
      body: body as never,
      headers: {
        ...bearer(),
        'Content-Type': type,
        ...(encoding === undefined ? {} : { 'Content-Encoding': encoding }),
      },
    })
  const first = await upload(JSON.stringify({ records: records.slice(0, 2) }), 'application/json')
  const second = await upload(pack({ records: records.slice(2, 4) }), 'application/msgpack')
  const zipped = gzipSync(JSON.stringify({ records: records.slice(4) }))
  const third = await upload(zipped, 'application/json', 'gzip')
  for (const reply of [first, second, third]) assert.equal(reply.status, 200, await reply.text())
  await door.sessions.end(tester, session.id, {})
  const read = (query: string, accept = 'application/json') =>
    fetch(`${base}/records${query}`, { headers: { ...bearer(), Accept: accept } })
  return { ...door, session, records, read }
}

interface Page {
  records: { timestamp: string; values: Record<string, unknown>; address: string }[]
  nextCursor: string | null
}

test('what was uploaded in three encodings is read back page by page', async (t) => {
  const { records, read, url } = await openRecords(t)
  const rows: Page['records'] = []
  let cursor: string | null = ''
  while (cursor !== null) {
    const query: string = cursor === '' ? '?limit=2' : `?limit=2&cursor=${cursor}`
    const page = (await (await read(query)).json()) as Page
    assert.ok(page.records.length <= 2)
    rows.push(...page.records)
    cursor = page.nextCursor
  }
  assert.deepEqual(
    rows.map(({ timestamp, values }) => ({ timestamp, values })),
    records,
  )
  const address = rows[3]?.address ?? ''
  const record = await fetch(`${url}/api/atoms/${address}`, { headers: bearer() })
  assert.deepEqual(await record.json(), rows[3])
  const beyond = await fetch(`${url}/api/atoms/${address.replace(/\d+$/, '9999')}`, {
    headers: bearer(),
  })
  assert.equal(beyond.status, 404)
})

test('records are chosen by time and field', async (t) => {
  const { records, read } = await openRecords(t)
  const from = records[1]?.timestamp
  const to = records[3]?.timestamp
  const page = (await (await read(`?from=${from}&to=${to}&fields=temperature`)).json()) as Page
  assert.deepEqual(
    page.records.map((row) => row.timestamp),
    [records[1]?.timestamp, records[2]?.timestamp],
  )
  for (const query of ['?from=yesterday', '?to=2025-02-30T00:00:00Z', '?fields=', '?limit=99999']) {
    assert.equal((await read(query)).status, 400, query)
  }
  assert.equal((await read('?cursor=nonsense')).status, 400)
})

test('NDJSON is a record a line, CSV has a header line, and both name their next page', async (t) => {
  const { records, read } = await openRecords(t)
  const ndjson = await read('?limit=3', 'application/x-ndjson')
  assert.match(ndjson.headers.get('content-type') ?? '', /^application\/x-ndjson/)
  assert.ok(ndjson.headers.get('x-next-cursor'))
  const lines = (await ndjson.text()).trimEnd().split('\n')
  assert.equal(lines.length, 3)
  const first = JSON.parse(lines[0] ?? '') as { timestamp: string }
  assert.equal(first.timestamp, records[0]?.timestamp)
  const csv = await read('', 'text/csv')
  const text = await csv.text()
  assert.match(text, /^timestamp,address,/)
  assert.ok(text.includes('"a,""b"""'))
  assert.ok(text.includes('"x,y"'))
  assert.equal((await read('', 'image/png')).status, 406)
})

test("rejected records and atoms are listed, and a frame's bytes are no record", async (t) => {
  const { url, session, store } = await openRecords(t)
  const list = async (path: string) => {
    const reply = await fetch(`${url}/api/streaming/sessions/${session.id}/${path}`, {
      headers: bearer(),
    })
    return (await reply.json()) as Record<string, Record<string, unknown>[]>
  }
  const { atoms } = await list('atoms')
  assert.ok(atoms !== undefined && atoms.length > 0)
  assert.match(String(atoms[0]?.hash), /^[0-9a-f]{64}$/)
  assert.deepEqual((await list('rejected')).rejected, [])
  const hash = Buffer.alloc(32, 1)
  await store.commit((transaction) => transaction.putBlob(0, hash, Buffer.from('ffd8ffe0', 'hex')))
  const reply = await fetch(`${url}/api/atoms/${hash.toString('hex')}/0`, { headers: bearer() })
  assert.equal(reply.status, 404)
})
