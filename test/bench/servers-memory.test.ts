import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ServersMemory } from '../../bench/servers-memory.ts'
import { overallVerdict } from '../../bench/verdict.ts'

const MiB = 2 ** 20

function memoryOf(...mebibytes: number[]): ServersMemory {
  const memory = new ServersMemory()
  for (const [index, value] of mebibytes.entries()) {
    const server = { watchMemory: () => undefined, anonBytesMax: value * MiB }
    memory.watch(`server-${index}`, server)
  }
  return memory
}

test('the server that held most decides, and is named', () => {
  const [met] = memoryOf(300, 600, 200).row(false)
  assert.deepEqual([met?.measured, met?.required, met?.verdict], [600, 600, 'met'])
  assert.equal(met?.note, 'most of 3: server-1 600, server-0 300, server-2 200')
  assert.equal(memoryOf(300, 601).row(false)[0]?.verdict, 'missed')
  assert.deepEqual(memoryOf().row(false), [])
})

test('memory that cannot be read, of one server too, is never met', () => {
  for (const memory of [memoryOf(0), memoryOf(300, 0)]) {
    const rows = memory.row(false)
    assert.deepEqual([rows[0]?.measured, rows[0]?.verdict], [null, 'not run'])
    assert.equal(overallVerdict(rows, false), 'not run')
  }
})

test('a quick run shows memory and does not judge it', () => {
  const [row] = memoryOf(900).row(true)
  assert.deepEqual([row?.measured, row?.verdict], [900, 'not judged'])
})
