import assert from 'node:assert/strict'
import { type Damage, damageText, verifyStore } from '../../src/store/verification.ts'

/** Counts and hashes the store in the folder again, and fails with each thing that is damaged. */
export async function assertSound(path: string): Promise<void> {
  const damaged: Damage[] = []
  await verifyStore(path, { onDamage: (damage) => damaged.push(damage) })
  assert.deepEqual(damaged.map(damageText), [])
}
