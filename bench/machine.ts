import { execFileSync } from 'node:child_process'
import { readFileSync, statfsSync } from 'node:fs'
import { availableParallelism, cpus, release, type as systemType, totalmem } from 'node:os'
import { join } from 'node:path'
import { projectFolder } from './server-process.ts'

/** What a figure has to be read beside. */
export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memoryBytes: number
  readonly kernel: string
  /** Of the folder that the server writes to. */
  readonly fileSystem: string
  readonly node: string
  readonly packages: Readonly<Record<string, string>>
  /** Null outside a git checkout. */
  readonly commit: string | null
  /** RFC 3339. */
  readonly date: string
}

/** `f_type` of statfs(2). */
const fileSystems: Readonly<Record<number, string>> = {
  61267: 'ext4',
  1481003842: 'xfs',
  2435016766: 'btrfs',
  801189825: 'zfs',
  2035054128: 'overlayfs',
  16914836: 'tmpfs, which is memory: flushing costs nothing here',
}

export function describeMachine(folder: string): Machine {
  const manifest = JSON.parse(readFileSync(join(projectFolder, 'package.json'), 'utf8')) as {
    version: string
    dependencies: Record<string, string>
    devDependencies: Record<string, string>
  }
  const { type } = statfsSync(folder)
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    kernel: `${systemType()} ${release()}`,
    fileSystem: fileSystems[type] ?? `type 0x${type.toString(16)}`,
    node: process.version,
    packages: {
      atomstream: manifest.version,
      ...manifest.dependencies,
      tinybench: manifest.devDependencies.tinybench as string,
    },
    commit: readCommit(),
    date: new Date().toISOString(),
  }
}

/** The commit, with a plus where files differ from it. */
function readCommit(): string | null {
  const git = (...args: string[]): string =>
    execFileSync('git', args, {
      cwd: projectFolder,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  try {
    return git('rev-parse', 'HEAD') + (git('status', '--porcelain') === '' ? '' : '+')
  } catch {
    return null
  }
}
