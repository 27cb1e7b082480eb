import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { freePort } from './ports.ts'
import { childrenOf } from './processes.ts'

const run = promisify(execFile)

export interface NginxFiles {
  readonly program: string
  readonly nchanModule: string
  /** Debian's package version of nchan where it was unpacked, or `installed`. */
  readonly source: string
}

const programs = ['/usr/sbin/nginx', '/usr/bin/nginx', '/usr/local/sbin/nginx']
const moduleFolders = ['/usr/lib/nginx/modules', '/usr/lib64/nginx/modules']
const moduleFile = 'ngx_nchan_module.so'
const packages = ['nginx', 'libnginx-mod-nchan']
const downloadTimeoutMs = 60_000
const startTimeoutMs = 5_000
const stopTimeoutMs = 5_000
const pollMs = 20

/**
 * nginx with nchan as this machine has it; else Debian's packages, unpacked into `folder`: nothing
 * is installed, so no service starts and no root is needed. A text where there is none, and why.
 */
export async function findNginx(
  folder: string,
  mayDownload: boolean,
  signal: AbortSignal,
): Promise<NginxFiles | string> {
  const found = nginxIn('')
  if (found !== null) return { ...found, source: 'installed' }
  if (!mayDownload) return 'there is no nginx with nchan'
  const root = join(folder, 'nginx-packages')
  mkdirSync(root, { recursive: true })
  try {
    const options = { cwd: root, timeout: downloadTimeoutMs, signal }
    await run('apt-get', ['download', ...packages], options)
    for (const file of readdirSync(root).filter((name) => name.endsWith('.deb'))) {
      await run('dpkg', ['-x', join(root, file), root], options)
    }
    const unpacked = nginxIn(root)
    if (unpacked !== null) return { ...unpacked, source: 'unpacked from Debian’s packages' }
    return 'the packages hold no nginx with nchan'
  } catch (error) {
    signal.throwIfAborted()
    const reason = (error as Error).message.split('\n')[0]
    return `there is no nginx with nchan, and its packages could not be had: ${reason}`
  }
}

function nginxIn(root: string): Omit<NginxFiles, 'source'> | null {
  const existing = (paths: readonly string[]) => paths.find((path) => existsSync(path))
  const program = existing(programs.map((path) => root + path))
  const nchanModule = existing(moduleFolders.map((path) => join(root + path, moduleFile)))
  return program === undefined || nchanModule === undefined ? null : { program, nchanModule }
}

export interface NchanOptions {
  readonly files: NginxFiles
  /** A new folder is made in it. */
  readonly folder: string
  readonly workers: number
  /** Of all workers together. */
  readonly connections: number
}

/** nginx as a child process on a loopback port of its own, with one channel in memory. */
export class NchanServer {
  private constructor(
    private readonly child: ChildProcess,
    readonly workers: number,
    readonly port: number,
  ) {}

  /** Resolves once it takes connections; rejects with what it says where it does not. */
  static async start(options: NchanOptions, signal: AbortSignal): Promise<NchanServer> {
    const port = await freePort()
    const prefix = join(options.folder, `nginx-${port}`)
    mkdirSync(prefix)
    const configuration = join(prefix, 'nginx.conf')
    writeFileSync(configuration, configure(options, prefix, port))
    const args = ['-p', prefix, '-c', configuration, '-e', join(prefix, 'error.log')]
    const child = spawn(options.files.program, args, { stdio: ['ignore', 'ignore', 'pipe'] })
    let errors = ''
    child.stderr.on('data', (chunk: Buffer) => {
      errors = `${errors}${chunk.toString()}`.slice(-2_000)
    })
    const server = new NchanServer(child, options.workers, port)
    try {
      const deadline = performance.now() + startTimeoutMs
      while (!(await answers(port))) {
        if (server.#ended) throw new Error(`nginx exited: ${errors}`)
        if (performance.now() > deadline) throw new Error(`nginx does not listen: ${errors}`)
        await sleep(pollMs, undefined, { signal })
      }
      return server
    } catch (error) {
      await server.stop()
      throw error
    }
  }

  get #ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null
  }

  /** Ends the master, which ends its workers; after a while all of them by force. */
  async stop(): Promise<void> {
    const { pid } = this.child
    if (pid === undefined || this.#ended) return
    const exited = once(this.child, 'exit')
    this.child.kill('SIGTERM')
    const deadline = sleep(stopTimeoutMs, false, { ref: false })
    if (await Promise.race([exited.then(() => true), deadline])) return
    for (const one of [...childrenOf(pid), pid]) process.kill(one, 'SIGKILL')
    await exited
  }
}

/**
 * Workers read only what is in the folder: `daemon off` makes it a child that can be ended by its
 * id. Messages are not kept beyond their delivery, nothing is logged, a worker has room for all.
 */
function configure({ files, workers, connections }: NchanOptions, prefix: string, port: number) {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  return `
load_module ${files.nchanModule};
daemon off;
pid ${prefix}/nginx.pid;
worker_processes ${workers};
worker_rlimit_nofile ${2 * connections + 256};
events { worker_connections ${2 * connections + 128}; use epoll; multi_accept on; }
http {
  access_log off;
  error_log ${prefix}/error.log error;
  ${temporary.map((name) => `${name}_temp_path ${prefix}/${name};`).join('\n  ')}
  client_body_in_single_buffer on;
  client_body_buffer_size 64k;
  keepalive_requests 1000000;
  keepalive_timeout 300s;
  tcp_nodelay on;
  nchan_shared_memory_size 128M;
  server {
    listen 127.0.0.1:${port} backlog=4096;
    location = /publish {
      nchan_publisher http;
      nchan_channel_id bench;
      nchan_store_messages off;
    }
    location = /subscribe {
      nchan_subscriber eventsource;
      nchan_channel_id bench;
      nchan_subscriber_first_message newest;
      nchan_subscriber_timeout 0;
    }
  }
}
`
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    const settle = (isThere: boolean) => {
      socket.destroy()
      resolve(isThere)
    }
    socket.once('connect', () => settle(true))
    socket.once('error', () => settle(false))
  })
}
