import { randomInt } from 'node:crypto'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Fault } from './fault.ts'
import { faults } from './faults.ts'
import { inflictApart } from './inflict.ts'
import { chosenFaults, faultId, helpText, parseOptions, type TortureOptions } from './options.ts'
import { allHeld, formatReport, type Row, rowOf } from './report.ts'

const exitNotHeld = 1
const exitUsage = 2
const exitInterrupted = 130
const faultTimeoutMs = 45 * 60_000

await main()

async function main(): Promise<void> {
  let options: TortureOptions
  let chosen: Fault[]
  try {
    options = parseOptions(process.argv.slice(2))
    chosen = chosenFaults(faults, options.only)
  } catch (error) {
    process.stderr.write(`torture: ${(error as Error).message}\n`)
    process.exitCode = exitUsage
    return
  }
  if (options.help) {
    process.stdout.write(helpText(faults))
    return
  }
  const interrupted = new AbortController()
  process.on('SIGINT', () => interrupted.abort())
  process.on('SIGTERM', () => interrupted.abort())
  const folder = mkdtempSync(join(tmpdir(), 'atomstream-torture-'))
  try {
    process.exitCode = await torture(chosen, options, folder, interrupted.signal)
  } finally {
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** Inflicts the faults one after the other and gives the exit status. */
async function torture(
  chosen: readonly Fault[],
  options: TortureOptions,
  folder: string,
  signal: AbortSignal,
): Promise<number> {
  const seed = options.seed ?? randomInt(0xffffffff)
  const rows: Row[] = []
  progress(`seed ${seed}`)
  for (const fault of chosen) {
    if (signal.aborted) break
    rows.push(await inflictOne(fault, options, { seed, folder, signal }))
  }
  const { version } = readPackage()
  const date = new Date().toISOString()
  const node = process.versions.node
  const report = { version, date, node, seed, quick: options.quick, rows }
  process.stdout.write(`\n${formatReport(report)}`)
  if (options.json !== null) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`)
  if (signal.aborted) return exitInterrupted
  return allHeld(rows, options) ? 0 : exitNotHeld
}

async function inflictOne(
  fault: Fault,
  options: TortureOptions,
  at: { readonly seed: number; readonly folder: string; readonly signal: AbortSignal },
): Promise<Row> {
  const id = faultId(fault)
  const runs = options.runs ?? (options.quick ? fault.runs.test : fault.runs.torture)
  const folder = join(at.folder, id)
  mkdirSync(folder)
  progress(`${id}: ${runs.toLocaleString('en')} runs`)
  const startedMs = performance.now()
  const report = await inflictApart(fault, {
    runs,
    thorough: !options.quick,
    seed: at.seed,
    folder,
    timeoutMs: faultTimeoutMs,
    signal: at.signal,
    say: (line) => progress(`  ${line}`),
  })
  const durationMs = Math.round(performance.now() - startedMs)
  rmSync(folder, { recursive: true, force: true, maxRetries: 5 })
  const subject = { id, fault: fault.name, mustHold: fault.holds, runsOrdered: runs }
  const row = rowOf(subject, report, durationMs)
  progress(`${id}: ${row.held} after ${Math.round(durationMs / 1_000)} s`)
  return row
}

function progress(line: string): void {
  process.stderr.write(`${line}\n`)
}

function readPackage(): { readonly version: string } {
  // This file runs as dist/test/torture/main.js.
  const path = join(import.meta.dirname, '../../../package.json')
  return JSON.parse(readFileSync(path, 'utf8'))
}
