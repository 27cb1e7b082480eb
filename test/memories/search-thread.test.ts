import assert from 'node:assert/strict'
import { hash } from 'node:crypto'
import { existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { Worker } from 'node:worker_threads'
import { type errorCatalogue, Refusal } from '../../src/contracts/errors.ts'
import { limits } from '../../src/limits.ts'
import { createLogger } from '../../src/log.ts'
import { MemorySearch } from '../../src/memories/memory-search.ts'
import type { Store } from '../../src/store/interfaces.ts'
import { openStore } from '../../src/store/store.ts'
import { watchThreads } from '../support/threads.ts'
import { eventually, within } from '../support/waiting.ts'
import { newMemory, request, searchFolder } from './search-documents.ts'

const faultyFile = new URL('./search-faulty.js', import.meta.url)
const searchableMs = 5_000

interface Opened {
  readonly store: Store
  readonly search: MemorySearch
  readonly folder: string
  readonly log: string[]
  readonly threads: Set<Worker>
}

interface Options {
  readonly memories?: string[]
  readonly workerFile?: URL
  readonly freeBytes?: () => number
}

function open(t: TestContext, { memories = [], workerFile, freeBytes }: Options = {}) {
  const path = searchFolder(t)
  const store = openStore({ path: join(path, 'store'), durability: 'commit', maxBytes: 1 << 28 })
  const log: string[] = []
  const threads = watchThreads(t)
  const folder = join(path, 'search')
  const search = new MemorySearch({
    store,
    folder,
    log: createLogger('info', { write: (line) => void log.push(line) }),
    workerFile,
    freeBytes,
  })
  t.after(async () => {
    await search.close()
    await store.close()
  })
  const stored = addAll(store, memories)
  return { opened: { store, search, folder, log, threads } satisfies Opened, stored }
}

async function openReady(t: TestContext, options: Options = {}): Promise<Opened> {
  const { opened, stored } = open(t, options)
  await stored
  opened.search.start()
  await ready(opened.search)
  return opened
}

async function addAll(store: Store, contents: readonly string[]): Promise<void> {
  await store.commit((transaction) => {
    for (const content of contents) transaction.createMemory(newMemory(content))
  })
}

function ready(search: MemorySearch): Promise<true> {
  return eventually(async () => (search.state === 'ready' ? true : undefined), 'the index')
}

async function find(search: MemorySearch, query: string): Promise<number[]> {
  const { hits } = await within(search.search(request(query)), 'an answer')
  return hits.map(({ number }) => number)
}

function refused(code: keyof typeof errorCatalogue) {
  return (error: unknown) => error instanceof Refusal && error.code === code
}

test('what is stored at the start is found once the index is built, and not before', async (t) => {
  const { opened, stored } = open(t, { memories: ['first light', 'second light'] })
  await stored
  const { search, folder } = opened
  assert.equal(search.state, 'building')
  await assert.rejects(search.search(request('light')), refused('SEARCH_NOT_READY'))
  search.start()
  await assert.rejects(search.search(request('light')), refused('SEARCH_NOT_READY'))
  await ready(search)
  assert.deepEqual(await find(search, 'light'), [2, 1])
  assert.ok(existsSync(folder))
  assert.ok(opened.log.some((line) => line.includes('"memories":2')))
})

test('a search sees every commit before it: created, changed, deleted', async (t) => {
  const { store, search } = await openReady(t)
  for (let round = 1; round <= 50; round += 1) {
    const word = hash('sha256', `created ${round}`).slice(0, 12)
    const changed = hash('sha256', `changed ${round}`).slice(0, 12)
    const row = await store.commit((transaction) => transaction.createMemory(newMemory(word)))
    assert.deepEqual(await find(search, word), [row.number])
    await store.commit((transaction) => {
      transaction.putMemory({ ...row, content: changed })
    })
    assert.deepEqual(await find(search, word), [])
    assert.deepEqual(await find(search, changed), [row.number])
    await store.commit((transaction) => transaction.deleteMemory(1, row.number))
    assert.deepEqual(await find(search, changed), [])
  }
})

test('changes that come while the index is built win over what is loaded', async (t) => {
  const memories = Array.from({ length: 3_000 }, (_, index) => `old text ${index}`)
  const { opened, stored } = open(t, { memories })
  await stored
  const { store, search } = opened
  search.start()
  const changes: Promise<unknown>[] = []
  for (let number = 1; number <= 3_000; number += 100) {
    changes.push(
      store.commit((transaction) => {
        const row = transaction.memory(1, number)
        assert.ok(row)
        transaction.putMemory({ ...row, content: 'fresh text' })
        transaction.deleteMemory(1, number + 1)
      }),
    )
    await new Promise(setImmediate)
  }
  await Promise.all(changes)
  const last = await store.commit((transaction) => transaction.createMemory(newMemory('fresh')))
  await ready(search)
  const fresh = await search.search(request('fresh', { limit: 100 }))
  assert.equal(fresh.total, 31)
  assert.ok(fresh.hits.some(({ number }) => number === last.number))
  assert.equal((await search.search(request('old'))).total, 3_000 - 60)
})

test('a thread that ends is started again and the index built anew', async (t) => {
  const { store, search, threads, log } = await openReady(t, { memories: ['lighthouse'] })
  const [thread] = threads
  assert.ok(thread)
  await thread.terminate()
  await eventually(async () => (search.state === 'ready' ? undefined : true), 'the loss')
  await assert.rejects(search.search(request('lighthouse')), refused('SEARCH_NOT_READY'))
  const row = await store.commit((transaction) => transaction.createMemory(newMemory('beacon')))
  await ready(search)
  assert.deepEqual(await find(search, 'lighthouse'), [1])
  assert.deepEqual(await find(search, 'beacon'), [row.number])
  assert.ok(log.some((line) => line.includes('the search index is lost')))
  assert.equal(threads.size, 1)
})

test('searches that a dying thread owes are refused, and those past the bound', async (t) => {
  const { search } = await openReady(t, { workerFile: faultyFile })
  const dying = [search.search(request('never answered')), search.search(request('die'))]
  const owed = Array.from({ length: limits.memorySearchesWaitingMax - 2 }, (_, index) =>
    search.search(request('not given', { tenant: index % 16 })),
  )
  await assert.rejects(search.search(request('one too many', { tenant: 99 })), refused('SATURATED'))
  for (const one of [...dying, ...owed]) {
    await assert.rejects(within(one, 'a refusal'), refused('SEARCH_NOT_READY'))
  }
  await ready(search)
})

test('close refuses who waits, ends the thread and removes the files', async (t) => {
  const { search, folder, threads } = await openReady(t, { workerFile: faultyFile })
  const owed = search.search(request('never answered'))
  const closing = search.close()
  await assert.rejects(within(owed, 'a refusal'), refused('SHUTTING_DOWN'))
  await within(closing, 'the close')
  await search.close()
  assert.equal(threads.size, 0)
  assert.equal(existsSync(folder), false)
  await assert.rejects(search.search(request('x')), refused('SHUTTING_DOWN'))
  search.start()
  assert.equal(threads.size, 0)
})

test('close does not wait for the index to be built', async (t) => {
  const memories = Array.from({ length: 5_000 }, (_, index) => `text ${index} `.repeat(20))
  const { opened, stored } = open(t, { memories })
  await stored
  opened.search.start()
  await eventually(async () => (existsSync(opened.folder) ? true : undefined), 'the folder')
  await within(opened.search.close(), 'the close', 3_000)
  assert.equal(opened.threads.size, 0)
  assert.equal(existsSync(opened.folder), false)
})

test('where more changes wait than may, the index is built again from what is stored', async (t) => {
  const { store, search, log } = await openReady(t, { memories: ['before'] })
  const changes = limits.memorySearchChangesMax + 1
  await store.commit((transaction) => {
    for (let number = 0; number < changes; number += 1) {
      transaction.createMemory(newMemory(number === changes - 1 ? 'needle' : 'hay'))
    }
  })
  assert.notEqual(search.state, 'ready')
  assert.ok(log.some((line) => line.includes('changed memories wait')))
  await eventually(async () => (search.state === 'ready' ? true : undefined), 'the index', 60_000)
  assert.deepEqual(await find(search, 'needle'), [changes + 1])
})

test('10,000 memories of 1 KB can be searched within five seconds', async (t) => {
  const words = Array.from({ length: 5_000 }, (_, index) => `w${(index * 7_919).toString(36)}`)
  const memories = Array.from({ length: 10_000 }, (_, number) =>
    Array.from({ length: 170 }, (_, at) => words[(number * 31 + at * at) % 5_000]).join(' '),
  )
  const { opened, stored } = open(t, { memories })
  await stored
  const { search } = opened
  const beganAtMs = performance.now()
  search.start()
  await ready(search)
  assert.ok(performance.now() - beganAtMs < searchableMs)
  const found = await search.search(request(words[31] as string, { limit: 1 }))
  assert.ok(found.total > 0)
})

test('the index goes where the disk has no room for it, and comes again with the room', async (t) => {
  let freeBytes = 2 ** 40
  const memories = ['lighthouse']
  const { store, search, folder } = await openReady(t, { memories, freeBytes: () => freeBytes })
  freeBytes = limits.memorySearchReserveBytes - 1
  const row = await store.commit((transaction) => transaction.createMemory(newMemory('beacon')))
  assert.equal(search.state, 'failed')
  await assert.rejects(search.search(request('beacon')), refused('SEARCH_NOT_READY'))
  await eventually(async () => (existsSync(folder) ? undefined : true), 'the removal')
  freeBytes = 2 ** 40
  await ready(search)
  assert.deepEqual(await find(search, 'lighthouse'), [1])
  assert.deepEqual(await find(search, 'beacon'), [row.number])
})

test('an index that cannot be opened is built again', async (t) => {
  const { store, search, folder } = await openReady(t)
  await store.commit((transaction) => {
    for (let tenant = 1; tenant <= limits.memoryIndexesOpenMax + 1; tenant += 1) {
      transaction.createMemory(newMemory('lighthouse', { tenant }))
    }
  })
  await find(search, 'lighthouse')
  await search.search(request('lighthouse', { tenant: limits.memoryIndexesOpenMax + 1 }))
  for (const name of ['1.sqlite', '2.sqlite']) {
    rmSync(join(folder, name))
    mkdirSync(join(folder, name))
  }
  const asked = [1, 2].map((tenant) => search.search(request('lighthouse', { tenant })))
  assert.ok((await Promise.allSettled(asked)).some(({ status }) => status === 'rejected'))
  await ready(search)
  assert.deepEqual(await find(search, 'lighthouse'), [1])
})

test('a tenant with many searches leaves the others their turn', async (t) => {
  const { search } = await openReady(t, { memories: ['lighthouse'] })
  const answered: number[] = []
  const ask = async (tenant: number) => {
    await search.search(request('lighthouse', { tenant }))
    answered.push(tenant)
  }
  const many = Array.from({ length: limits.memorySearchesOfTenantMax + 2 }, () => ask(1))
  await assert.rejects(ask(1), refused('SATURATED'))
  await within(Promise.all([...many, ask(2)]), 'all answers')
  assert.ok(answered.indexOf(2) <= limits.memorySearchesPostedMax + 1)
})
