import assert from 'node:assert/strict'
import { Database, type TableName } from '../../src/store/database.ts'
import type { Transaction } from '../../src/store/interfaces.ts'
import { openStore } from '../../src/store/store.ts'
import { checkStore } from '../../src/store/verification/store-check.ts'
import { type Damage, damageText, verifyStore } from '../../src/store/verification.ts'

/** Counts and hashes the store in the folder again, and fails with each thing that is damaged. */
export async function assertSound(path: string): Promise<void> {
  const damaged: Damage[] = []
  await verifyStore(path, { onDamage: (damage) => damaged.push(damage) })
  assert.deepEqual(damaged.map(damageText), [])
}

/** What is damaged, found in this process, which is quicker: for files that LMDB itself can read. */
export async function damagedIn(path: string): Promise<Damage[]> {
  const damaged: Damage[] = []
  await checkStore(path, (message) => {
    if (message.kind === 'damage') damaged.push(message.damage)
  })
  return damaged
}

/** Changes stored values behind the program's back; null takes the key away. */
export async function tamper(
  path: string,
  table: TableName,
  key: Uint8Array,
  change: (value: Uint8Array) => Uint8Array | null,
): Promise<void> {
  const database = new Database({ path, flush: true, maxBytes: 1 << 30 })
  const value = database.table(table).get(key)
  assert(value !== null, `${table} has the key`)
  await database.apply([{ table, key, value: change(value) }])
  await database.close()
}

/** Changes rows as the program would, but to what it would not. */
export async function changeRows(
  path: string,
  unit: (transaction: Transaction) => void,
): Promise<void> {
  const store = openStore({ path, durability: 'flush', maxBytes: 1 << 30 })
  await store.commit(unit)
  await store.close()
}
