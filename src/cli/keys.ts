import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { type Config, storeOptions } from '../config.ts'
import { limits } from '../limits.ts'
import { type ApiKeyRow, type Scope, type Store, scopes } from '../store/interfaces.ts'
import { openStore } from '../store/store.ts'
import { ConfigError, suggestion } from './flags.ts'
import { type Environment, readArguments } from './settings.ts'

/** Key text is `as_` and 32 random bytes as base64url: 256 bits that nobody can guess. */
const keyBytes = 32
/** Ids are public names, told apart by 72 random bits. */
const keyIdBytes = 9

export interface ApiKeyOwner {
  readonly tenant: number
  readonly user: string
  readonly scopes: readonly Scope[]
}

/** A new key: its text, which is told once and kept nowhere, and the row to store. */
export function newApiKey(owner: ApiKeyOwner): { key: string; row: ApiKeyRow } {
  const key = `as_${randomBytes(keyBytes).toString('base64url')}`
  return {
    key,
    row: {
      id: `key_${randomBytes(keyIdBytes).toString('base64url')}`,
      digest: apiKeyDigest(key),
      tenant: owner.tenant,
      user: owner.user,
      scopes: [...owner.scopes],
      createdAtMs: Date.now(),
      revokedAtMs: null,
    },
  }
}

/**
 * SHA-256 over the whole key text, 32 bytes. A slow hash would add nothing: the keys are random, so
 * there is no dictionary to try against a stolen digest.
 */
export function apiKeyDigest(key: string): Uint8Array {
  return createHash('sha256').update(key).digest()
}

/**
 * `keys create|list|revoke`, on the store itself, beside a server that has it open. Gives the lines
 * for standard output. Throws ConfigError for wrong arguments and an unknown id.
 */
export async function runKeys(args: readonly string[], env?: Environment): Promise<string> {
  const [command, ...rest] = args
  switch (command) {
    case 'create':
      return createKey(rest, env)
    case 'list':
      return listKeys(rest, env)
    case 'revoke':
      return revokeKey(rest, env)
    default: {
      const near = command === undefined ? '' : suggestion(command, ['create', 'list', 'revoke'])
      const given = command === undefined ? 'nothing' : `"${command}"`
      throw new ConfigError(`keys: expected create, list or revoke, got ${given}${near}`)
    }
  }
}

async function createKey(args: readonly string[], env?: Environment): Promise<string> {
  const { own, positionals, config } = readArguments(
    args,
    { valued: ['--tenant', '--user', '--scopes'], switches: [] },
    env,
  )
  if (positionals.length > 0) throw new ConfigError(`unexpected argument "${positionals[0]}"`)
  const owner = {
    tenant: parseTenant(own.values.get('--tenant') ?? '0'),
    user: parseUser(own.values.get('--user')),
    scopes: parseScopes(own.values.get('--scopes')),
  }
  const { key, row } = newApiKey(owner)
  await withStore(config, (store) =>
    store.commit((transaction) => {
      transaction.putApiKey(row)
    }),
  )
  return JSON.stringify({ id: row.id, key, tenant: row.tenant, user: row.user, scopes: row.scopes })
}

async function listKeys(args: readonly string[], env?: Environment): Promise<string> {
  const { own, positionals, config } = readArguments(
    args,
    { valued: [], switches: ['--json'] },
    env,
  )
  if (positionals.length > 0) throw new ConfigError(`unexpected argument "${positionals[0]}"`)
  requireStore(config)
  const rows = await withStore(config, (store) => store.apiKeys.list())
  const shown = rows.map((row) => ({
    id: row.id,
    tenant: row.tenant,
    user: row.user,
    scopes: row.scopes,
    createdAt: new Date(row.createdAtMs).toISOString(),
    revokedAt: row.revokedAtMs === null ? null : new Date(row.revokedAtMs).toISOString(),
  }))
  if (own.switches.has('--json')) return JSON.stringify(shown)
  return formatTable([
    ['ID', 'TENANT', 'USER', 'CREATED', 'REVOKED', 'SCOPES'],
    ...shown.map((row) => [
      row.id,
      String(row.tenant),
      row.user,
      row.createdAt,
      row.revokedAt ?? '-',
      row.scopes.length === scopes.length ? 'all' : row.scopes.join(','),
    ]),
  ])
}

async function revokeKey(args: readonly string[], env?: Environment): Promise<string> {
  const { positionals, config } = readArguments(args, { valued: [], switches: [] }, env)
  const [id, extra] = positionals
  if (id === undefined) throw new ConfigError('keys revoke: expected the id of a key, key_…')
  if (extra !== undefined) throw new ConfigError(`unexpected argument "${extra}"`)
  requireStore(config)
  return withStore(config, async (store) => {
    const row = store.apiKeys.list().find((candidate) => candidate.id === id)
    // What was given may be the key itself, pasted by mistake: it is not shown.
    if (row === undefined) throw new ConfigError('keys revoke: no key has this id; see keys list')
    const revokedAtMs = row.revokedAtMs ?? Date.now()
    if (row.revokedAtMs === null) {
      // It must not fail where the store is full.
      await store.commit((transaction) => transaction.putApiKey({ ...row, revokedAtMs }), {
        removes: true,
      })
    }
    return JSON.stringify({ id: row.id, revokedAt: new Date(revokedAtMs).toISOString() })
  })
}

async function withStore<T>(config: Config, work: (store: Store) => T | Promise<T>): Promise<T> {
  const store = await openStore({ ...storeOptions(config), exclusive: false })
  try {
    return await work(store)
  } finally {
    await store.close()
  }
}

/** Reading keys must not create a store where a path is misspelt. */
function requireStore(config: Config): void {
  if (!existsSync(storeOptions(config).path)) {
    throw new ConfigError(`--data-dir: no store in ${config.dataDir}`)
  }
}

function parseTenant(text: string): number {
  const tenant = /^\d{1,10}$/.test(text) ? Number(text) : Number.NaN
  if (tenant <= limits.tenantMax) return tenant
  const given = JSON.stringify(text)
  throw new ConfigError(`--tenant: expected an integer from 0 to ${limits.tenantMax}, got ${given}`)
}

function parseUser(text: string | undefined): string {
  const expected = `1 to ${limits.userNameCharsMax} characters without control characters`
  if (text === undefined) throw new ConfigError(`--user: expected ${expected}, got nothing`)
  const valid = text.length <= limits.userNameCharsMax && /^[^\p{Cc}]+$/u.test(text)
  if (valid) return text
  throw new ConfigError(`--user: expected ${expected}, got ${JSON.stringify(text)}`)
}

function parseScopes(text: string | undefined): Scope[] {
  const expected = `all, or a comma list of ${scopes.join(', ')}`
  if (text === undefined) throw new ConfigError(`--scopes: expected ${expected}, got nothing`)
  if (text === 'all') return [...scopes]
  const chosen = new Set<Scope>()
  for (const name of text.split(',').map((part) => part.trim())) {
    const scope = scopes.find((candidate) => candidate === name)
    if (scope === undefined) {
      const near = suggestion(name, scopes)
      throw new ConfigError(`--scopes: expected ${expected}, got ${JSON.stringify(name)}${near}`)
    }
    chosen.add(scope)
  }
  return [...chosen]
}

function formatTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  )
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
