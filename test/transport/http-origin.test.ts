import assert from 'node:assert/strict'
import { Agent } from 'node:http'
import { type TestContext, test } from 'node:test'
import type { Config } from '../../src/config.ts'
import { Client } from '../support/client.ts'
import { ask, upgradeHeaders } from '../torture/exposure-wire.ts'
import { openDoor, ownKey } from './door.ts'

interface Doors {
  readonly port: number
  /** Whether a page of this origin gets a ticket and a WebSocket: both must say the same. */
  readonly admits: (origin: string | string[], host?: string) => Promise<boolean>
}

async function openDoors(t: TestContext, config: Partial<Config> = {}): Promise<Doors> {
  const door = await openDoor(t, { config })
  const client = new Client(door.url, ownKey)
  const { sessionId } = await client.start({ sessionType: 'telemetry' })
  const path = client.session(sessionId, 'ws')
  const body = JSON.stringify({ resource: path })
  const agent = new Agent({ keepAlive: true })
  t.after(() => agent.destroy())
  const admits: Doors['admits'] = async (origin, host = `127.0.0.1:${door.port}`) => {
    const headers = { ...client.headers, Host: host, Origin: [origin].flat() }
    const upgraded = { method: 'GET', path, headers: { ...upgradeHeaders, ...headers } }
    const socket = await ask(agent, door.url, upgraded)
    const asked = { method: 'POST', path: '/api/streaming/tickets', headers, body }
    const ticket = await ask(agent, door.url, asked)
    assert.ok(socket.status === 101 || socket.status === 403, `${origin}: ${socket.status}`)
    assert.equal(ticket.status, socket.status === 101 ? 200 : 403, `${origin}: ${ticket.body}`)
    return socket.status === 101
  }
  return { port: door.port, admits }
}

test('pages of the address that was asked may use WebSockets and tickets', async (t) => {
  const { port, admits } = await openDoors(t)
  for (const name of ['127.0.0.1', 'localhost', '192.168.7.9', '[::1]']) {
    assert.equal(await admits(`http://${name}:${port}`, `${name}:${port}`), true, name)
  }
  assert.equal(await admits('http://10.0.0.1', '10.0.0.1'), true)
})

test('every other origin is refused, however much it looks like the own one', async (t) => {
  const { port, admits } = await openDoors(t)
  const own = `http://127.0.0.1:${port}`
  const origins = [
    'null',
    '',
    '*',
    `https://127.0.0.1:${port}`,
    `ws://127.0.0.1:${port}`,
    `HTTP://127.0.0.1:${port}`,
    'http://127.0.0.1',
    `http://127.0.0.1:${port + 1}`,
    `http://127.0.0.1:${port}0`,
    `http://a.127.0.0.1:${port}`,
    `http://127.0.0.1.elsewhere.example:${port}`,
    `http://127.0.0.1:${port}.elsewhere.example`,
    `http://127.0.0.1:${port}@elsewhere.example`,
    `${own}/`,
    `${own}/path`,
    `${own} http://elsewhere.example`,
    `${own}, http://elsewhere.example`,
    `http://localhost:${port}`,
    '127.0.0.1',
    'file://',
    'chrome-extension://abcdefghijklmnop',
  ]
  for (const origin of origins) assert.equal(await admits(origin), false, origin)
  assert.equal(await admits([own, own]), false)
  assert.equal(await admits([own, 'http://elsewhere.example']), false)
  assert.equal(await admits(['http://elsewhere.example', own]), false)
})

test('a name that anybody may point at this machine vouches for nothing', async (t) => {
  const { port, admits } = await openDoors(t)
  const names = [
    'elsewhere.example',
    'localhost.elsewhere.example',
    '127.0.0.1.elsewhere.example',
    '1.2.3',
    '0x7f.1',
    'LOCALHOST',
    'x@127.0.0.1',
  ]
  for (const name of names) {
    assert.equal(await admits(`http://${name}:${port}`, `${name}:${port}`), false, name)
  }
})

test('the name that the server listens on is its own', async (t) => {
  const { port, admits } = await openDoors(t, { host: 'ingest.lan' })
  assert.equal(await admits(`http://ingest.lan:${port}`, `ingest.lan:${port}`), true)
  assert.equal(await admits(`http://a.ingest.lan:${port}`, `a.ingest.lan:${port}`), false)
})

test('with a public URL its origin is the own one, and Host says nothing', async (t) => {
  const publicUrl = 'https://ingest.example/base'
  const { port, admits } = await openDoors(t, { publicUrl })
  assert.equal(await admits('https://ingest.example'), true)
  assert.equal(await admits('https://ingest.example', 'ingest.example'), true)
  assert.equal(await admits('http://ingest.example', 'ingest.example'), false)
  assert.equal(await admits('https://ingest.example:8443', 'ingest.example:8443'), false)
  assert.equal(await admits('https://sub.ingest.example', 'sub.ingest.example'), false)
  assert.equal(await admits('https://ingest.example/base'), false)
  assert.equal(await admits(`http://127.0.0.1:${port}`), false)
})

test('listed origins are taken as they are listed, beside the own one', async (t) => {
  const { port, admits } = await openDoors(t, { corsOrigins: ['https://app.example'] })
  assert.equal(await admits('https://app.example'), true)
  assert.equal(await admits(`http://127.0.0.1:${port}`), true)
  for (const origin of [
    'http://app.example',
    'https://app.example:443',
    'https://app.example.elsewhere.example',
    'https://x.app.example',
    'https://APP.example',
    'https://app.example/',
  ]) {
    assert.equal(await admits(origin), false, origin)
  }
})
