import { Refusal } from '../../contracts/errors.ts'

/** Throws Refusal `TENANT_MISMATCH` where a body names another tenant than its key's. */
export function requireOwnTenant(
  { tenantId }: { readonly tenantId?: number | undefined },
  tenant: number,
): void {
  if (tenantId !== undefined && tenantId !== tenant) throw new Refusal('TENANT_MISMATCH')
}
