import type { Group } from './group.ts'

/**
 * Blobs are stored once per tenant; each atom, journaled item and pending buffer that is of one is an
 * occurrence.
 */

/** Stores the bytes, or counts one more occurrence of those that are there. */
export function putOccurrence(
  group: Group,
  tenant: number,
  hash: Uint8Array,
  bytes: Uint8Array,
): void {
  const { blobs } = group.rows
  if (!blobs.has(tenant, hash)) group.add(tenant, [blobs.write(tenant, hash, bytes)])
  else group.put([blobs.usersWrite(tenant, hash, blobs.users(tenant, hash) + 1)])
}

/**
 * Takes one occurrence back; the last one takes the bytes with it. `byteLength` is that of the bytes where
 * it is known: reading old ones only to learn it would fetch all of them from the disk. A blob that is
 * missing is damage, which must not keep what else there is from being removed.
 */
export function releaseOccurrence(
  group: Group,
  tenant: number,
  hash: Uint8Array,
  byteLength: number | null,
): void {
  const { blobs } = group.rows
  if (!blobs.has(tenant, hash)) return
  const users = blobs.users(tenant, hash)
  if (users > 1) {
    group.free([blobs.usersWrite(tenant, hash, users - 1)])
    return
  }
  const { table, key } = blobs.removal(tenant, hash)
  const valueBytes = byteLength ?? blobs.get(tenant, hash)?.byteLength ?? 0
  group.remove(tenant, [{ table, key, bytes: key.byteLength + valueBytes }])
}
