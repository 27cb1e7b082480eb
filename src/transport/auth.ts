import { createHash, hash, timingSafeEqual } from 'node:crypto'
import { Refusal } from '../contracts/errors.ts'
import { limits } from '../limits.ts'
import { type ApiKeyRow, type ApiKeys, type Scope, scopes } from '../store/interfaces.ts'
import type { Principal } from './route.ts'

const allScopes: ReadonlySet<Scope> = new Set(scopes)

export function unauthorized(message?: string): Refusal {
  return new Refusal('UNAUTHORIZED', {
    ...(message === undefined ? {} : { message }),
    headers: { 'WWW-Authenticate': 'Bearer realm="atomstream"' },
  })
}

/** Whether the principal holds the scope, or one of several. */
export function holdsScope(held: ReadonlySet<Scope>, needed: Scope | readonly Scope[]): boolean {
  return typeof needed === 'string' ? held.has(needed) : needed.some((scope) => held.has(scope))
}

export function scopeMissing(needed: Scope | readonly Scope[]): Refusal {
  const requiredScope = typeof needed === 'string' ? needed : (needed[0] ?? 'admin')
  return new Refusal('SCOPE_MISSING', { fields: { requiredScope } })
}

/**
 * The key of a `Sec-WebSocket-Protocol: bearer, KEY`, null where the header offers something else.
 */
export function subprotocolKey(headers: ReadonlyMap<string, string>): string | null {
  const offered = headers
    .get('sec-websocket-protocol')
    ?.split(',')
    .map((part) => part.trim())
  if (offered?.[0]?.toLowerCase() !== 'bearer') return null
  return offered.length === 2 ? (offered[1] ?? null) : null
}

/**
 * Finds out who asks. Keys are looked up by digest, and lookups are remembered until any key
 * changes, which is looked for every `limits.keyRefreshMs`: a revocation by another process is
 * honoured within that time, by open streams too.
 */
export class Authenticator {
  readonly #own: { readonly digest: Buffer; readonly principal: Principal } | null
  readonly #byDigest = new Map<string, Principal>()
  #byId: Map<string, Principal> | null = null
  #version: number
  readonly #watchers = new Map<string, Set<() => void>>()
  readonly #timer: NodeJS.Timeout

  constructor(
    private readonly keys: ApiKeys,
    apiKey: string | null,
    private readonly fault: (error: unknown) => void,
  ) {
    this.#own = apiKey === null ? null : ownKey(apiKey)
    this.#version = keys.version()
    this.#timer = setInterval(() => this.#refresh(), limits.keyRefreshMs)
    this.#timer.unref()
  }

  /**
   * Null where the request bears no key. Throws Refusal `UNAUTHORIZED` where it bears a wrong one.
   */
  authenticate(headers: ReadonlyMap<string, string>, isUpgrade: boolean): Principal | null {
    const offered = offeredKeys(headers, isUpgrade)
    const [key] = offered
    if (key === undefined) return null
    if (offered.size > 1) throw unauthorized('The request bears two different API keys')
    const digest = hash('sha256', key, 'buffer')
    const principal = this.#find(digest)
    if (principal === null) throw unauthorized('The API key is unknown or revoked')
    return principal
  }

  /** Null where the key is unknown or revoked. */
  byId(keyId: string): Principal | null {
    if (this.#own?.principal.keyId === keyId) return this.#own.principal
    this.#byId ??= new Map(
      this.keys
        .list()
        .filter((row) => row.revokedAtMs === null)
        .map((row) => [row.id, principalOf(row)]),
    )
    return this.#byId.get(keyId) ?? null
  }

  /** Calls back once the key is revoked. Returns the way to stop watching. */
  watch(keyId: string, onRevoked: () => void): () => void {
    const watchers = this.#watchers.get(keyId) ?? new Set()
    this.#watchers.set(keyId, watchers)
    watchers.add(onRevoked)
    return () => {
      watchers.delete(onRevoked)
      if (watchers.size === 0 && this.#watchers.get(keyId) === watchers) {
        this.#watchers.delete(keyId)
      }
    }
  }

  close(): void {
    clearInterval(this.#timer)
  }

  #find(digest: Buffer): Principal | null {
    if (this.#own !== null && timingSafeEqual(digest, this.#own.digest)) return this.#own.principal
    const name = digest.toString('latin1')
    const known = this.#byDigest.get(name)
    if (known !== undefined) return known
    const row = this.keys.byDigest(digest)
    if (row === null || row.revokedAtMs !== null) return null
    if (!timingSafeEqual(digest, row.digest)) return null
    if (this.#byDigest.size >= limits.keyCacheMax) this.#byDigest.clear()
    const principal = principalOf(row)
    this.#byDigest.set(name, principal)
    return principal
  }

  #refresh(): void {
    try {
      const version = this.keys.version()
      if (version === this.#version) return
      this.#version = version
      this.#byDigest.clear()
      this.#byId = null
      for (const [keyId, watchers] of [...this.#watchers]) {
        if (this.byId(keyId) === null) for (const onRevoked of [...watchers]) onRevoked()
      }
    } catch (error) {
      this.fault(error)
    }
  }
}

function ownKey(apiKey: string): { digest: Buffer; principal: Principal } {
  const digest = createHash('sha256').update(apiKey).digest()
  // The id holds a digest of the digest, so that tickets end when the variable changes.
  const suffix = createHash('sha256').update(digest).digest('hex').slice(0, 12)
  return {
    digest,
    principal: { keyId: `key_env_${suffix}`, tenant: 0, user: 'operator', scopes: allScopes },
  }
}

function principalOf(row: ApiKeyRow): Principal {
  const held = row.scopes.includes('admin') ? allScopes : new Set(row.scopes)
  return { keyId: row.id, tenant: row.tenant, user: row.user, scopes: held }
}

function offeredKeys(headers: ReadonlyMap<string, string>, isUpgrade: boolean): Set<string> {
  const keys = new Set<string>()
  const authorization = headers.get('authorization')
  if (authorization !== undefined) {
    const key = /^bearer +([!-~]+) *$/i.exec(authorization)?.[1]
    if (key === undefined) throw unauthorized('Authorization must be: Bearer KEY')
    keys.add(key)
  }
  const apiKey = headers.get('x-api-key')
  if (apiKey !== undefined) keys.add(apiKey)
  const protocolKey = isUpgrade ? subprotocolKey(headers) : null
  if (protocolKey !== null) keys.add(protocolKey)
  return keys
}
