import { hash } from 'node:crypto'

const digestBytes = 32

/**
 * One step of the hash chain of a session or job: SHA-256 of the chain so far and the next digest, both
 * raw, 32 bytes each. It begins with 32 zero bytes.
 */
export function extendChain(chain: Uint8Array, digest: Uint8Array): Uint8Array {
  const link = new Uint8Array(2 * digestBytes)
  link.set(chain)
  link.set(digest, digestBytes)
  return hash('sha256', link, 'buffer')
}
