import { ensureInstalled, packageBin, run } from './ready.mjs'

await ensureInstalled()

const biome = [packageBin('@biomejs/biome', 'biome'), 'ci', '.']
const tsc = [packageBin('typescript', 'tsc'), '-p', 'tsconfig.json', '--noEmit']
const noInfo = ['--incremental', 'false', '--tsBuildInfoFile', 'null']

// Both run even where the first finds something, so that one call tells all.
const statuses = [
  await run(process.execPath, biome),
  await run(process.execPath, [...tsc, ...noInfo]),
]
process.exit(Math.max(...statuses))
