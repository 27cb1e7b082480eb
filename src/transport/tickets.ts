import { createHmac, timingSafeEqual } from 'node:crypto'
import { limits } from '../limits.ts'
import type { Scope } from '../store/interfaces.ts'
import { type Authenticator, unauthorized } from './auth.ts'
import type { Principal } from './route.ts'

/** A ticket is for reading: whatever its key may do, it opens no more than this. */
const readScopes: readonly Scope[] = ['sessions:read', 'events:read', 'jobs:read', 'memories:read']

type Payload = [keyId: string, tenant: number, user: string, path: string, expiresAtMs: number]

/**
 * Tickets stand in URLs, where headers cannot be set: base64url of a payload, a dot, and its HMAC
 * under the store's secret. They are reusable until they end, open one path, and die with their
 * key.
 */
export class Tickets {
  constructor(
    private readonly secret: Uint8Array,
    private readonly authenticator: Authenticator,
    private readonly ttlMs: number = limits.ticketTtlMs,
  ) {}

  issue(principal: Principal, path: string): { ticket: string; expiresAt: string } {
    const expiresAtMs = Date.now() + this.ttlMs
    const { keyId, tenant, user } = principal
    const payload: Payload = [keyId, tenant, user, path, expiresAtMs]
    const text = Buffer.from(JSON.stringify(payload)).toString('base64url')
    const ticket = `${text}.${this.#sign(text)}`
    return { ticket, expiresAt: new Date(expiresAtMs).toISOString() }
  }

  /**
   * Throws Refusal `UNAUTHORIZED` where the ticket is forged, over, revoked or for another path.
   */
  redeem(ticket: string, path: string): Principal {
    const [text = '', signature = '', ...rest] = ticket.split('.')
    // Compared as text: base64url has several spellings of the same bytes.
    const given = Buffer.from(signature)
    const expected = Buffer.from(this.#sign(text))
    if (rest.length > 0 || given.byteLength !== expected.byteLength) throw refused()
    if (!timingSafeEqual(given, expected)) throw refused()
    const payload = JSON.parse(Buffer.from(text, 'base64url').toString()) as Payload
    const [keyId, tenant, user, ownPath, expiresAtMs] = payload
    const key = this.authenticator.byId(keyId)
    if (key === null || ownPath !== path || expiresAtMs <= Date.now()) throw refused()
    return { keyId, tenant, user, scopes: readOnly(key.scopes) }
  }

  #sign(text: string): string {
    return createHmac('sha256', this.secret).update(text).digest('base64url')
  }
}

/** The ticket in a raw query, before anything else of the query is looked at; null without one. */
export function ticketOf(query: string): string | null {
  return /(?:^|&)ticket=([^&]*)/.exec(query)?.[1] ?? null
}

export function readOnly(scopes: ReadonlySet<Scope>): ReadonlySet<Scope> {
  return new Set(readScopes.filter((scope) => scopes.has(scope)))
}

function refused() {
  return unauthorized('The ticket is not valid for this resource')
}
