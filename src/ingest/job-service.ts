import type { Actor } from '../contracts/actor.ts'
import { Refusal } from '../contracts/errors.ts'
import type { JobRow, Store } from '../store/interfaces.ts'
import { tellJob } from './activity.ts'
import { endJob } from './jobs.ts'
import type { MediaJobService } from './media-jobs.ts'
import type { SessionService } from './sessions.ts'

/** What a client may do to a job. */
export class JobService {
  readonly #store: Store
  readonly #sessions: SessionService
  readonly #mediaJobs: MediaJobService

  constructor(services: {
    store: Store
    sessions: SessionService
    mediaJobs: MediaJobService
  }) {
    this.#store = services.store
    this.#sessions = services.sessions
    this.#mediaJobs = services.mediaJobs
  }

  /** Throws JOB_NOT_FOUND. */
  find(tenant: number, jobId: string): JobRow {
    const job = this.#store.jobs.find(tenant, jobId)
    if (job === null) throw new Refusal('JOB_NOT_FOUND', { fields: { jobId } })
    return job
  }

  /**
   * Cancels a job and resolves with its row. Of a file the atoms that are stored by then are kept; a
   * queued upload is taken back; dead letters that are not at work yet stay dead letters. Throws
   * JOB_NOT_FOUND, and JOB_STATE_CONFLICT where it has ended.
   */
  async cancel(actor: Actor, jobId: string): Promise<JobRow> {
    const job = this.find(actor.tenant, jobId)
    requireOpen(job)
    const row = await this.#cancel(actor, job)
    if (row.status !== 'cancelled') requireOpen(row)
    return row
  }

  async #cancel(actor: Actor, job: JobRow): Promise<JobRow> {
    switch (job.kind) {
      case 'media':
        return this.#mediaJobs.cancel(actor, job)
      case 'redrive': {
        const session = job.session === null ? null : this.#store.sessions.get(job.session)
        // First, so that what is done after a crash is the same.
        await this.#store.commit((transaction) => {
          const row = transaction.job(job.number)
          if (row.endedAtMs !== null) return
          endJob(transaction, row, 'cancelled')
          tellJob(transaction, actor, 'cancel', row, session?.id ?? null)
        })
        break
      }
      case 'upload':
    }
    await this.#sessions.cancelJob(actor, job)
    return this.#store.jobs.get(job.number) ?? job
  }
}

function requireOpen({ id, status, endedAtMs }: JobRow): void {
  if (endedAtMs === null) return
  throw new Refusal('JOB_STATE_CONFLICT', {
    message: `The job is ${status}`,
    fields: { jobId: id, status },
  })
}
