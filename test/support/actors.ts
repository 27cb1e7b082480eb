import type { Actor } from '../../src/contracts/actor.ts'

/** Who does what tests do. */
export function testerOf(tenant: number): Actor {
  return { tenant, user: 'tester' }
}

/** The same of tenant 0. */
export const tester = testerOf(0)
