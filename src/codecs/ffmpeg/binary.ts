import { execFile } from 'node:child_process'
import { createRequire } from 'node:module'
import type { FfmpegBinary } from '../../contracts/media.ts'
import { limits } from '../../limits.ts'

/**
 * The ffmpeg to use: the configured one; else the machine's; else the one that a package brings, a
 * static build of 2018; null where there is none. Throws an Error where the configured one is no
 * ffmpeg that runs. The path is absolute unless it was configured otherwise.
 */
export async function findFfmpeg(configured: string | null): Promise<FfmpegBinary | null> {
  if (configured !== null) {
    const binary = await askVersion(configured)
    if (binary === null) throw new Error(`${configured} is not an ffmpeg that runs`)
    return binary
  }
  const ofMachine = await run('/bin/sh', ['-c', 'command -v ffmpeg'])
  for (const path of [ofMachine?.trim() ?? '', packagedPath() ?? '']) {
    const binary = path.startsWith('/') ? await askVersion(path) : null
    if (binary !== null) return binary
  }
  return null
}

/** The package throws where it has no build for this machine. */
function packagedPath(): string | null {
  try {
    const installed = createRequire(import.meta.url)('@ffmpeg-installer/ffmpeg') as { path: string }
    return installed.path
  } catch {
    return null
  }
}

async function askVersion(path: string): Promise<FfmpegBinary | null> {
  const text = await run(path, ['-version'])
  return text === null ? null : parseVersion(path, text)
}

/** `ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000-2026 the FFmpeg developers`. */
export function parseVersion(path: string, text: string): FfmpegBinary | null {
  const [, version, year] = /^ffmpeg version (\S+)(?:.*?\(c\) \d{4}-(\d{4}))?/.exec(text) ?? []
  if (version === undefined) return null
  return { path, version, year: year === undefined ? null : Number(year) }
}

/**
 * 5.1 brought `-fps_mode` and warns of `-vsync` since; builds that bear no number are told apart by
 * their year.
 */
export function frameRateOption(binary: FfmpegBinary): '-fps_mode' | '-vsync' {
  const [, major, minor] = /^n?(\d+)\.(\d+)/.exec(binary.version) ?? []
  if (major === undefined) return (binary.year ?? 0) > 2022 ? '-fps_mode' : '-vsync'
  return Number(major) > 5 || (major === '5' && Number(minor) > 0) ? '-fps_mode' : '-vsync'
}

/**
 * Whether demuxer, decoder and filters take turns in one thread, so that the log's lines stand in the
 * order of the work. From 7.0 on each has a thread of its own.
 */
export function logsInOrder(binary: FfmpegBinary): boolean {
  const [, major] = /^n?(\d+)\.\d/.exec(binary.version) ?? []
  return major === undefined ? (binary.year ?? 9_999) < 2023 : Number(major) < 7
}

/** What it prints; null where it does not run, fails, or takes too long. */
function run(path: string, parameters: readonly string[]): Promise<string | null> {
  const options = {
    timeout: limits.ffmpegVersionTimeoutMs,
    killSignal: 'SIGKILL',
    maxBuffer: 1024 * 1024,
  } as const
  return new Promise((resolve) => {
    const child = execFile(path, parameters, options, (error, stdout) => {
      resolve(error === null ? stdout : null)
    })
    child.stdin?.end()
  })
}
