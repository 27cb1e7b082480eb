import type { TenantEventData } from '../contracts/events.ts'

export type ServiceStatus = TenantEventData<'system.health'>['status']

/** What the stream of a tenant knows of the monitor, and the monitor of the stream. */
export interface Monitor {
  /** Of the process as a whole, as of the last look. */
  readonly status: ServiceStatus
  /**
   * Somebody listens to the stream of the tenant from now on. The first who does gets an
   * `analytics.update` at once.
   */
  joined(tenant: number): void
  /** Once for each that has joined. */
  left(tenant: number): void
}

/** Who counts requests: each once, when its reply is out. */
export interface Traffic {
  answered(tenant: number, user: string, status: number, durationMs: number): void
}
