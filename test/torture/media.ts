import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { StartSession } from '../../src/contracts/http.ts'
import { chainOf } from '../support/client.ts'
import { speechFile } from '../support/data.ts'
import {
  childrenOf,
  endedJob,
  isRunning,
  jobStatus,
  spooledFiles,
  uploadFile,
} from '../support/jobs.ts'
import { clip } from '../support/media-files.ts'
import { startServer, type TestServer } from '../support/server.ts'
import { eventually } from '../support/waiting.ts'
import { CleanUps } from './clean-ups.ts'
import type { Fault, FaultOrder, FaultReport } from './fault.ts'
import { partSeed, Random } from './random.ts'

/** A decoder whose server is gone must be gone too after this time. */
const orphanMs = 1_000

export const mediaFault: Fault = {
  name: 'kill -9 while files are taken apart',
  holds: 'every job completes, finalHash of an undisturbed one, no decoder or spool file left',
  runs: { test: 3, torture: 60 },
  inflict,
}

interface Subject {
  readonly name: string
  readonly session: StartSession
  readonly contentType: string
  readonly path: string
}

interface Totals {
  kills: number
  atWork: number
  atoms: number
}

async function inflict(order: FaultOrder): Promise<FaultReport> {
  const cleanUps = new CleanUps()
  const totals: Totals = { kills: 0, atWork: 0, atoms: 0 }
  const failures: string[] = []
  let runs = 0
  try {
    const subjects = await subjectsIn(order.folder)
    const expected = await undisturbed(cleanUps, order.folder, subjects)
    while (runs < order.runs && !order.signal.aborted) {
      const subject = subjects[runs % subjects.length] as Subject
      const random = new Random(partSeed(order.seed, runs))
      runs += 1
      const trial = new MediaTrial(cleanUps, join(order.folder, `data-${runs}`), subject, totals)
      const failed = await trial.run(random, expected.get(subject.name) ?? '')
      failures.push(...failed.map((text) => `run ${runs} (${subject.name}): ${text}`))
      order.say(`run ${runs} (${subject.name}): ${measured(totals)}, ${failures.length} failures`)
    }
  } finally {
    await cleanUps.run()
  }
  return { runs, measured: measured(totals), failures }
}

function measured({ kills, atWork, atoms }: Totals): string {
  return `${kills} kills, ${atWork} of them amid a job; ${atoms.toLocaleString('en')} atoms, none lost or doubled`
}

async function subjectsIn(folder: string): Promise<Subject[]> {
  const { path: video } = await clip()
  return [
    {
      name: 'all frames of a video',
      session: {
        sessionType: 'video',
        frameExtraction: { frameExtractionMode: 'all-frames' },
      },
      contentType: 'video/mp4',
      path: video,
    },
    {
      name: 'speech',
      session: {
        sessionType: 'audio',
        segmentation: { segmentationMode: 'speech-detection', maxSegmentDurationMs: 2_000 },
      },
      contentType: 'audio/wav',
      path: speechFile(folder),
    },
  ]
}

/** The final hash of each file's job where nothing happens to it. */
async function undisturbed(
  cleanUps: CleanUps,
  folder: string,
  subjects: readonly Subject[],
): Promise<ReadonlyMap<string, string>> {
  const dataDir = join(folder, 'undisturbed')
  await mkdir(dataDir)
  const server = await startServer(cleanUps, { dataDir })
  const hashes = new Map<string, string>()
  for (const { name, session, contentType, path } of subjects) {
    const { sessionId } = await server.client.start(session)
    const jobId = await uploadFile(server.client, sessionId, path, contentType)
    const { result, status } = await endedJob(server.client, jobId)
    if (result === undefined) throw new Error(`the undisturbed job is ${status}`)
    hashes.set(name, result.finalHash)
  }
  await server.stop()
  return hashes
}

/** One file whose server is killed again and again. */
class MediaTrial {
  readonly #cleanUps: CleanUps
  readonly #dataDir: string
  readonly #subject: Subject
  readonly #totals: Totals

  constructor(cleanUps: CleanUps, dataDir: string, subject: Subject, totals: Totals) {
    this.#cleanUps = cleanUps
    this.#dataDir = dataDir
    this.#subject = subject
    this.#totals = totals
  }

  /** What did not hold. */
  async run(random: Random, finalHash: string): Promise<string[]> {
    await mkdir(this.#dataDir)
    const { session, path, contentType } = this.#subject
    let server = await this.#start()
    const { sessionId } = await server.client.start(session)
    const jobId = await uploadFile(server.client, sessionId, path, contentType)
    const failures: string[] = []
    // Two at most: a job that never gets any further is given up after three.
    for (let kills = 0; kills < 2 && (kills === 0 || random.chance(0.6)); kills += 1) {
      // At any moment, or once there is something to be lost.
      if (random.chance(0.4)) await delay(random.float(0, 1_200))
      else await this.#progressOf(server, jobId, random.int(1, 1_000))
      failures.push(...(await this.#kill(server)))
      server = await this.#start()
    }
    const job = await endedJob(server.client, jobId)
    if (job.status !== 'completed') return [...failures, `the job is ${JSON.stringify(job)}`]
    const atoms = await server.client.atoms(sessionId)
    this.#totals.atoms += atoms.length
    if (job.result?.finalHash !== finalHash) failures.push('its final hash is another')
    if (chainOf(atoms) !== finalHash) failures.push('its atoms have another hash chain')
    if (job.result?.atomsCreated !== atoms.length) failures.push('it counts other atoms')
    const isEmpty = async () => ((await spooledFiles(server)).length === 0 ? true : undefined)
    await eventually(isEmpty, 'an empty spool')
    await server.stop()
    return failures
  }

  /** Until the job has worked off so many items, or has ended. */
  async #progressOf(server: TestServer, jobId: string, items: number): Promise<void> {
    const isThere = async () => {
      const { progress } = await jobStatus(server.client, jobId)
      return progress === undefined || progress.itemsProcessed >= items ? true : undefined
    }
    await eventually(isThere, `item ${items} of the job`)
  }

  #start(): Promise<TestServer> {
    const env = { ATOMSTREAM_API_KEY: 'the-key-of-each-server' }
    return startServer(this.#cleanUps, { dataDir: this.#dataDir, env })
  }

  async #kill(server: TestServer): Promise<string[]> {
    const children = await childrenOf(server.pid)
    await server.kill('SIGKILL')
    this.#totals.kills += 1
    if (children.length > 0) this.#totals.atWork += 1
    await delay(orphanMs)
    const failures: string[] = []
    for (const pid of children) {
      if (await isRunning(pid)) failures.push(`the decoder ${pid} outlived its server`)
    }
    return failures
  }
}
