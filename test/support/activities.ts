import assert from 'node:assert/strict'
import { type TenantEventData, tenantEvents } from '../../src/contracts/events.ts'
import type { Store } from '../../src/store/interfaces.ts'
import { conforming } from './client.ts'

export type ActivityData = TenantEventData<'user.activity'>

/** What a tenant is told of its users, in order; each as the contract says, and of no session's log. */
export function activitiesOf(store: Store, tenant = 0): ActivityData[] {
  return store.events
    .ofTenant(tenant, 0, 10_000)
    .filter(({ name }) => name === 'user.activity')
    .map(({ session, data }) => {
      assert.equal(session, null)
      return conforming(tenantEvents['user.activity'], JSON.parse(data))
    })
}

/** `action resource` of each. */
export function actionsOf(store: Store, tenant = 0): string[] {
  return activitiesOf(store, tenant).map(({ action, resource_type: type }) => `${action} ${type}`)
}
