import { type ChildProcess, spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { access } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { MediaError } from '../../contracts/media.ts'
import { limits } from '../../limits.ts'
import type { MediaOptions, MediaSource } from './source.ts'

/** Of util-linux: the kernel kills the decoder once the thread that started it is gone. */
const setpriv = '/usr/bin/setpriv'
const watchIntervalMs = 100

/** Takes a line of the log. What it throws ends the decoder and is thrown to who reads. */
export type LineReader = (line: string) => void

/**
 * One ffmpeg at work. What it writes is read piece by piece, and it stands still while nobody reads;
 * its log is always read, so that it never waits for that. It is killed at the deadline, where it is
 * read and tells nothing for `limits.mediaStallMs`, and when the signal aborts. `stop()` must be
 * called at the end, in a finally.
 */
export class DecoderProcess {
  readonly #child: ChildProcess
  readonly #output: Readable
  readonly #source: MediaSource
  readonly #options: MediaOptions
  readonly #readLine: LineReader
  readonly #closed: Promise<void>
  readonly #watch: NodeJS.Timeout
  readonly #endsAt: number
  readonly #onAbort = (): void => this.#fail(this.#options.signal.reason)
  readonly #lastWords: string[] = []
  #partialLine = ''
  #isClosed = false
  #isStopped = false
  #failure: unknown = null
  #wakeReader: (() => void) | null = null
  #activeAt = performance.now()

  static async start(
    source: MediaSource,
    parameters: readonly string[],
    options: MediaOptions,
    readLine: LineReader,
  ): Promise<DecoderProcess> {
    options.signal.throwIfAborted()
    const startedAt = performance.now()
    const isTied = await access(setpriv, constants.X_OK).then(
      () => true,
      () => false,
    )
    const command = [source.ffmpeg.path, ...parameters]
    const [program = '', ...rest] = isTied
      ? [setpriv, '--pdeathsig', 'KILL', '--', ...command]
      : command
    options.signal.throwIfAborted()
    return new DecoderProcess(source, program, rest, options, readLine, startedAt)
  }

  private constructor(
    source: MediaSource,
    program: string,
    parameters: readonly string[],
    options: MediaOptions,
    readLine: LineReader,
    startedAt: number,
  ) {
    this.#source = source
    this.#options = options
    this.#readLine = readLine
    this.#endsAt = startedAt + options.deadlineMs
    const child = spawn(program, parameters, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { LC_ALL: 'C' },
      cwd: '/',
    })
    this.#child = child
    this.#output = child.stdout
    child.stdout.on('readable', () => this.#wake())
    child.stdout.on('error', () => this.#wake())
    child.stderr.setEncoding('latin1')
    child.stderr.on('data', (text: string) => this.#readLog(text))
    this.#closed = new Promise((resolve) => {
      child.once('close', () => {
        this.#isClosed = true
        this.#wake()
        resolve()
      })
    })
    child.once('error', (error) => {
      this.#fail(new MediaError('DECODER_MISSING', 'ffmpeg cannot be started', error.message))
    })
    options.signal.addEventListener('abort', this.#onAbort, { once: true })
    this.#watch = setInterval(() => this.#checkTime(), watchIntervalMs)
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** What ffmpeg complained of last, without addresses of memory or the path of the file. */
  get lastWords(): readonly string[] {
    return this.#lastWords
  }

  /**
   * The next bytes; empty where a line of the log has come instead; null at the end, once the whole log
   * has been read. Throws a MediaError at a deadline and the signal's reason once it has aborted.
   */
  read(): Promise<Uint8Array | null> {
    return this.#waitFor(() => (this.#output.read() as Buffer | null) ?? undefined)
  }

  /** Lets the log go on while no further bytes are taken; null at the end. */
  readLog(): Promise<Uint8Array | null> {
    return this.#waitFor(() => undefined)
  }

  async #waitFor(take: () => Uint8Array | undefined): Promise<Uint8Array | null> {
    this.#activeAt = performance.now()
    for (let hasWaited = false; ; hasWaited = true) {
      if (this.#failure !== null) throw this.#failure
      const taken = take()
      if (taken !== undefined) return taken
      // Nothing wakes a reader for bytes that it leaves where they are, so the process cannot close.
      if (this.#isClosed) return null
      if (hasWaited) return nothing
      await new Promise<void>((resolve) => {
        this.#wakeReader = resolve
      })
      this.#wakeReader = null
    }
  }

  /** Throws where ffmpeg ended otherwise than by itself and with success; call it after the end. */
  checkExit(): void {
    const { exitCode, signalCode } = this.#child
    if (exitCode === 0) return
    const how = signalCode === null ? `exited with code ${exitCode}` : `was ended by ${signalCode}`
    const words = this.#lastWords.slice(-3).join('; ')
    throw new MediaError(
      'DECODER_FAILED',
      `ffmpeg ${how}`,
      words === '' ? 'it told no reason' : words,
    )
  }

  get hasFailed(): boolean {
    return this.#child.exitCode !== 0
  }

  /** Kills it where it still runs and waits for its end. May be called again. */
  async stop(): Promise<void> {
    if (!this.#isStopped) {
      this.#isStopped = true
      clearInterval(this.#watch)
      this.#options.signal.removeEventListener('abort', this.#onAbort)
      this.#kill()
    }
    const aborter = new AbortController()
    const late = delay(limits.decoderKillWaitMs, undefined, { signal: aborter.signal })
    await Promise.race([this.#closed, late.catch(() => {})])
    aborter.abort()
  }

  #kill(): void {
    this.#child.kill('SIGKILL')
    // Unread bytes would keep the stream, and with it the process, from closing.
    this.#output.destroy()
  }

  #fail(reason: unknown): void {
    this.#failure ??= reason
    this.#kill()
    this.#wake()
  }

  #checkTime(): void {
    const now = performance.now()
    if (now >= this.#endsAt) {
      const details = `the decoder was ended after ${Math.round(this.#options.deadlineMs)} ms`
      this.#fail(new MediaError('MEDIA_TIMEOUT', 'Decoding took longer than allowed', details))
    } else if (this.#wakeReader !== null && now - this.#activeAt > limits.mediaStallMs) {
      const details = `the decoder told nothing for ${limits.mediaStallMs} ms`
      this.#fail(new MediaError('MEDIA_TIMEOUT', 'The decoder hangs', details))
    }
  }

  #wake(): void {
    this.#activeAt = performance.now()
    this.#wakeReader?.()
  }

  #readLog(text: string): void {
    const lines = (this.#partialLine + text).split('\n')
    this.#partialLine = (lines.pop() ?? '').slice(0, limits.decoderLogLineCharsMax)
    for (const line of lines) {
      if (isComplaint(line)) this.#remember(line)
      try {
        this.#readLine(line)
      } catch (error) {
        this.#fail(error)
      }
    }
    this.#wake()
  }

  #remember(line: string): void {
    const text = line
      .replace(/ @ 0x[0-9a-f]+/g, '')
      .replaceAll(`file:${this.#source.path}`, 'the file')
      .replaceAll(this.#source.path, 'the file')
      .slice(0, limits.decoderLogLineCharsMax)
    this.#lastWords.push(text)
    if (this.#lastWords.length > limits.decoderLogLinesMax) this.#lastWords.shift()
  }
}

const nothing = new Uint8Array(0)

/**
 * Warnings are of how the file was made, but for those of bytes that are bad or missing. What bears no
 * level was said by no part of ffmpeg's: the loader misses a library, for instance.
 */
function isComplaint(line: string): boolean {
  if (line.startsWith('[info]')) return false
  if (/^[A-Za-z/]/.test(line)) return true
  return /\[(error|fatal|panic)\] |\[warning\] .*(corrupt|missing|overread|NAL unit)/.test(line)
}
