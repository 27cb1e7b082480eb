import { openStore } from '../../src/store/store.ts'
import { sha256 } from './fixtures.ts'

/** Adds or revokes a key beside the server, as the command line tool does. */
const [path, change] = process.argv.slice(2)
if (path === undefined) throw new Error('key-writer FOLDER add|revoke')
const store = openStore({
  path,
  durability: 'flush',
  maxBytes: 1024 ** 3,
  exclusive: false,
})
await store.commit((tx) =>
  tx.putApiKey({
    id: 'key_tool',
    digest: sha256('key of the tool'),
    tenant: 0,
    user: 'tool',
    scopes: ['admin'],
    createdAtMs: 1,
    revokedAtMs: change === 'revoke' ? 2 : null,
  }),
)
await store.close()
