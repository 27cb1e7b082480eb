import { settingRows } from '../config.ts'
import { scopes } from '../store/interfaces.ts'

export const commandNames = ['serve', 'keys'] as const

/** What `--help` prints. */
export function mainHelp(): string {
  return `atomstream: ingest server for sensors, cameras and microphones

Usage:
  atomstream [serve] [settings]     start the server (with npm: npm start -- [settings])
  atomstream keys create|list|revoke     manage API keys; see atomstream keys --help
  atomstream --help | --version

Settings, as flags or as environment variables; a flag wins:
${settingsHelp()}

A flag takes its value as --port 9000 or --port=9000. Other users of the machine can read flags in
the process list, so give the API key by its variable.

Exit codes: 0 stopped as asked, 1 failed, 2 wrong arguments or settings.`
}

/** What `keys --help` prints. */
export function keysHelp(): string {
  return `atomstream keys: manage API keys of the store, also while a server runs on it

Usage:
  atomstream keys create [--tenant N] --user NAME --scopes a,b|all [settings]
      Creates a key and prints it, once, as a JSON line: {"id","key","tenant","user","scopes"}.
      Only its SHA-256 digest is stored. The tenant is 0 unless given.
  atomstream keys list [--json] [settings]
      Lists all keys, revoked ones too.
  atomstream keys revoke ID [settings]
      Revokes a key; a running server refuses it within a second.

Scopes: ${scopes.slice(0, 5).join(', ')},
  ${scopes.slice(5).join(', ')}; admin includes all others.

Settings: as for the server; the keys command uses --data-dir (ATOMSTREAM_DATA_DIR, ./data).`
}

function settingsHelp(): string {
  return settingRows
    .map(
      (row) =>
        `  ${row.flag}, ${row.variable}\n` +
        `      ${row.description}.\n` +
        `      Default: ${row.standard}. Unit: ${row.unit}. Takes: ${row.expected}.`,
    )
    .join('\n')
}
