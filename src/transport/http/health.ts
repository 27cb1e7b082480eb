import { Health } from '../../contracts/http.ts'
import { Reply, type Route, route } from '../route.ts'

/** What anybody may ask: whether it serves, its figures. None of them tells of anybody's data. */
export function healthRoutes(version: string, startedAtMs: number): readonly Route[] {
  return [
    route({
      method: 'GET',
      path: '/health',
      summary: 'Whether the server serves',
      scope: null,
      replies: { 200: Health },
      errors: [],
      // Healthy though full: a supervisor that restarted it would take the reads away and free nothing.
      handle: (_, { store }) => ({
        status: 'healthy',
        store: store.isFull ? 'full' : 'writable',
        version,
        uptimeMs: Math.round(performance.now() - startedAtMs),
      }),
    }),
    route({
      method: 'GET',
      path: '/metrics',
      summary: 'Figures as Prometheus text',
      scope: null,
      replies: { 200: 'text/plain; version=0.0.4' },
      errors: [],
      handle: async (_, { metrics, store, uploads, mediaJobs, spool }) => {
        const { usedBytes, maxBytes, commits, units } = store.statistics()
        metrics.storeBytes.set(usedBytes)
        metrics.storeBytesMax.set(maxBytes)
        metrics.storeCommits.set(commits)
        metrics.storeUnits.set(units)
        metrics.decodeQueue.set(uploads.waiting)
        const { running, waiting } = mediaJobs.counts
        metrics.mediaJobsOpen.set({ state: 'running' }, running)
        metrics.mediaJobsOpen.set({ state: 'waiting' }, waiting)
        metrics.spoolBytes.set(spool.usedBytes)
        const text = await metrics.registry.metrics()
        return new Reply(200, text, { 'Content-Type': metrics.registry.contentType })
      },
    }),
  ]
}
