import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { findFfmpeg } from '../../../src/codecs/ffmpeg/binary.ts'
import type { MediaSource } from '../../../src/codecs/ffmpeg/source.ts'
import { extractFrames, probeVideo } from '../../../src/codecs/ffmpeg/video.ts'
import type { FfmpegBinary, FrameSettings } from '../../../src/contracts/media.ts'
import { drain, machineFfmpeg, mediaFile, patient } from '../../support/media-files.ts'
import { straceMissing } from '../../support/strace.ts'

const settings: FrameSettings = {
  mode: 'all-frames',
  frameRateFps: null,
  resolution: null,
  compressionQuality: 90,
  interval: 30,
  sceneThreshold: 0.3,
}

function folderOf(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'ffmpeg-child-'))
  t.after(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A program that answers as ffmpeg does, and else does what `script` says, its process id in $$. */
async function scripted(
  t: TestContext,
  script: string,
): Promise<FfmpegBinary & { pidFile: string }> {
  const folder = folderOf(t)
  const path = join(folder, 'ffmpeg')
  const pidFile = join(folder, 'pid')
  const version = 'echo "ffmpeg version 5.1 Copyright (c) 2000-2022 the FFmpeg developers"'
  const lines = [`[ "$1" = -version ] && { ${version}; exit; }`, `echo $$ > ${pidFile}`, script]
  writeFileSync(path, `#!/bin/sh\n${lines.join('\n')}\n`)
  chmodSync(path, 0o755)
  const binary = await findFfmpeg(path)
  assert.ok(binary !== null)
  return { ...binary, pidFile }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

/** Processes that have the file among their arguments. */
function childrenOn(source: MediaSource): string[] {
  const { stdout } = spawnSync('ps', ['-eo', 'pid,stat,args'], { encoding: 'utf8' })
  return stdout.split('\n').filter((line) => line.includes(`file:${source.path}`))
}

test('a configured program that is no ffmpeg is refused', async () => {
  await assert.rejects(findFfmpeg('/bin/true'), /^Error: \/bin\/true is not an ffmpeg that runs$/)
  await assert.rejects(findFfmpeg('/nowhere/ffmpeg'), /is not an ffmpeg that runs/)
})

test('an ffmpeg that hangs is gone within a second of its deadline', async (t) => {
  const ffmpeg = await scripted(t, 'exec sleep 60')
  const source = { ...(await mediaFile('moov-first.mp4')), ffmpeg }
  const startedAt = performance.now()
  const outcome = probeVideo(source, patient(1_000))
  await assert.rejects(outcome, { code: 'MEDIA_TIMEOUT' })
  assert.ok(performance.now() - startedAt < 2_000)
  assert.equal(isAlive(Number(readFileSync(ffmpeg.pidFile, 'utf8'))), false)
})

test('a cancelled one is gone within a second, and the reason is what is thrown', async (t) => {
  const ffmpeg = await scripted(t, 'exec sleep 60')
  const source = { ...(await mediaFile('moov-first.mp4')), ffmpeg }
  const aborter = new AbortController()
  const reason = new Error('cancelled by the client')
  const outcome = probeVideo(source, { signal: aborter.signal, deadlineMs: 60_000 })
  const rejected = assert.rejects(outcome, reason)
  while (!existsSync(ffmpeg.pidFile)) await delay(20)
  const cancelledAt = performance.now()
  aborter.abort(reason)
  await rejected
  assert.ok(performance.now() - cancelledAt < 1_000)
})

test('one that ends without a reason of the file is told as such', async (t) => {
  const source = await mediaFile('moov-first.mp4')
  const info = await probeVideo(source, patient())
  const options = { ...patient(), skip: 0, onPosition: () => {} }
  const ffmpeg = await scripted(t, 'echo "[info] 0.000000" >&2; kill -SEGV $$')
  const { error } = await drain(extractFrames({ ...source, ffmpeg }, info, settings, options))
  assert.ok(error instanceof Error)
  assert.match(error.message, /^ffmpeg was ended by SIGSEGV/)
})

test('whoever stops pulling holds ffmpeg back, and return() leaves no child', async () => {
  const source = await mediaFile('looped.mp4')
  const info = await probeVideo(source, patient())
  const frames = extractFrames(source, info, settings, {
    ...patient(),
    skip: 0,
    onPosition: () => {},
  })
  for (let taken = 0; taken < 20; taken += 1) assert.equal((await frames.next()).done, false)
  const [line = ''] = childrenOn(source)
  const pid = Number.parseInt(line, 10)
  const written = () => Number(/^wchar: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, 'utf8'))?.[1])
  await delay(1_000)
  const before = written()
  await delay(1_000)
  assert.equal(written(), before)
  assert.ok(before < 16 * 1024 * 1024, `${before} bytes were written`)
  await frames.return()
  assert.deepEqual(childrenOn(source), [])
})

test('a thread takes frames as well, and its end ends ffmpeg', async (t) => {
  const source = await mediaFile('looped.mp4')
  const own = join(folderOf(t), 'own.mp4')
  writeFileSync(own, readFileSync(source.path))
  const mine = { ...source, path: own }
  const module = new URL('../../../src/codecs/ffmpeg/video.js', import.meta.url).href
  const code = `
    const { parentPort, workerData } = require('node:worker_threads')
    import(${JSON.stringify(module)}).then(async ({ probeVideo, extractFrames }) => {
      const { source, settings } = workerData
      const options = { signal: new AbortController().signal, deadlineMs: 60_000 }
      const info = await probeVideo(source, options)
      const more = { ...options, skip: 0, onPosition() {} }
      for await (const frame of extractFrames(source, info, settings, more)) {
        parentPort.postMessage(frame.sourceFrame)
      }
    })`
  const worker = new Worker(code, { eval: true, workerData: { source: mine, settings } })
  await new Promise<void>((resolve) => {
    worker.on('message', (frame: number) => frame === 5 && resolve())
  })
  assert.equal(childrenOn(mine).length, 1)
  await worker.terminate()
  const endsAt = performance.now() + 1_000
  while (childrenOn(mine).length > 0 && performance.now() < endsAt) await delay(50)
  if (existsSync('/usr/bin/setpriv')) assert.deepEqual(childrenOn(mine), [])
})

const watched = { skip: straceMissing() ?? false }
test('ffmpeg opens no file but the spool, and no socket', watched, async (t) => {
  const trace = join(folderOf(t), 'trace')
  const { path } = await machineFfmpeg()
  const calls = 'trace=open,openat,openat2,socket,connect,execve'
  const ffmpeg = await scripted(
    t,
    `exec strace -f -qq -s 256 -e ${calls} -A -o ${trace} -- ${path} "$@"`,
  )
  for (const name of ['clip.mkv', 'moov-first.mp4'] as const) {
    const source = { ...(await mediaFile(name)), ffmpeg }
    const info = await probeVideo(source, patient())
    const options = { ...patient(), skip: 0, onPosition: () => {} }
    const { error } = await drain(extractFrames(source, info, settings, options))
    assert.equal(error, null)
    const lines = readFileSync(trace, 'latin1').split('\n')
    const opened = lines.flatMap((line) => /open\w*\(.*?"([^"]*)"/.exec(line)?.[1] ?? [])
    assert.ok(opened.includes(source.path))
    const system = /^\/(lib|lib64|usr|etc|proc|sys|dev)\//
    const others = opened.filter((file) => file !== source.path && !system.test(file))
    assert.deepEqual(others, [])
    const sockets = lines.filter((line) => /\b(socket|connect)\(/.test(line))
    assert.deepEqual(sockets, [])
    rmSync(trace)
  }
})
