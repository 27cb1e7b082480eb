import { dirname, join } from 'node:path'
import { runBench } from './bench.ts'
import { formatComparison, type NamedReport } from './compare.ts'
import { type BenchOptions, help, parseOptions } from './options.ts'
import { plotGrowth } from './plot.ts'
import { formatReport } from './report.ts'
import { keepReport, plotName } from './results.ts'
import { projectFolder } from './server-process.ts'
import { readReport, writeResult } from './stored-report.ts'

const exitMissed = 1
const exitUsage = 2
const exitNotRun = 3
const exitInterrupted = 130

const resultsFolder = join(projectFolder, 'bench', 'results')

await main()

async function main(): Promise<void> {
  let options: BenchOptions
  let older: NamedReport | null
  try {
    options = parseOptions(process.argv.slice(2))
    // Read before the run, which a wrong name would make useless.
    older = options.compare === null ? null : readNamed(options.compare)
    if (worksOnFiles(options, older)) return
  } catch (error) {
    process.stderr.write(`bench: ${(error as Error).message}\n`)
    process.exitCode = exitUsage
    return
  }
  const interrupted = new AbortController()
  const interrupt = () => interrupted.abort(new Error('interrupted'))
  process.once('SIGINT', interrupt)
  process.once('SIGTERM', interrupt)
  try {
    const report = await runBench(options, progress, interrupted.signal)
    process.stdout.write(formatReport(report))
    if (older) {
      process.stdout.write(`\n${formatComparison(older, { name: 'this run', report })}`)
    }
    const written = keepReport(options, report, resultsFolder)
    if (written.length > 0) progress(`written: ${written.join(', ')}`)
    if (report.verdict === 'missed') process.exitCode = exitMissed
    if (report.verdict === 'not run' || report.verdict === 'not judged') {
      process.exitCode = exitNotRun
    }
  } catch (error) {
    process.stderr.write(`bench: ${error instanceof Error ? error.stack : error}\n`)
    process.exitCode = interrupted.signal.aborted ? exitInterrupted : exitMissed
  }
}

/** Whether the options ask for nothing that has to be run, which is done then. */
function worksOnFiles(options: BenchOptions, older: NamedReport | null): boolean {
  if (options.help) {
    process.stdout.write(help)
    return true
  }
  if (options.plot !== null) {
    const path = join(dirname(options.plot), plotName)
    writeResult(path, plotGrowth(readReport(options.plot)))
    process.stdout.write(`${path}\n`)
    return true
  }
  if (options.with === null || older === null) return false
  process.stdout.write(formatComparison(older, readNamed(options.with)))
  return true
}

function readNamed(path: string): NamedReport {
  return { name: path, report: readReport(path) }
}

/** Seconds stand before each line: they show where the time of a run goes. */
function progress(text: string): void {
  process.stderr.write(`[${(performance.now() / 1_000).toFixed(0).padStart(3)} s] ${text}\n`)
}
