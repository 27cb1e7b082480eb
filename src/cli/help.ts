import { settingRows } from '../config.ts'
import { scopes } from '../store/interfaces.ts'

export const commandNames = ['serve', 'keys', 'backup', 'verify'] as const

/** What `--help` prints. */
export function mainHelp(): string {
  return `atomstream: ingest server for sensors, cameras and microphones

Usage:
  atomstream [serve] [settings]     start the server (with npm: npm start -- [settings])
  atomstream keys create|list|revoke     manage API keys; see atomstream keys --help
  atomstream backup DIR [settings]       copy the store, also while a server runs on it
  atomstream verify [--json] [settings]  recount and rehash all that is stored, also while it runs
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

/** What `backup --help` prints. */
export function backupHelp(): string {
  return `atomstream backup: copy the store, also while a server runs on it

Usage:
  atomstream backup DIR [settings]
      Copies the store as it stands when the command begins: everything that was acknowledged before
      is in it. DIR is new or empty and becomes a data folder: atomstream --data-dir DIR serves it. The
      copy bears its name (store) only once it is whole and on disk; one that was cut short is called
      store.partial. It holds the API keys' digests and the secret of the tickets.
      While it runs the server cannot reuse the space that it frees, so its file may grow.

Settings: as for the server; the command uses --data-dir (ATOMSTREAM_DATA_DIR, ./data).
Exit codes: 0 copied, 1 not copied and nothing left behind, 2 wrong arguments or settings.`
}

/** What `verify --help` prints. */
export function verifyHelp(): string {
  return `atomstream verify: recount and rehash all that is stored

Usage:
  atomstream verify [--json] [settings]
      Reads everything on one snapshot, also while a server runs: each block and blob against its
      SHA-256, each session's rows, counters and hash chain, the journal, dead letters, events, and
      every index both ways. Prints a line for each thing that is damaged, then a summary; with
      --json one object: {"sound","damages","counts","durationMs","damaged":[…]}.
      While it runs the server cannot reuse the space that it frees, so its file may grow.

Settings: as for the server; the command uses --data-dir (ATOMSTREAM_DATA_DIR, ./data).
Exit codes: 0 sound, 1 damaged or no store, 2 wrong arguments or settings.`
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
