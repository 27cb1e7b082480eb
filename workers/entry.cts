import type { WorkerTask } from '../src/contracts/tasks.ts' with { 'resolution-mode': 'import' }

/**
 * What Piscina loads. Piscina calls require() on it, and Node.js dies with a V8 fatal error where a
 * thread is ended while it require()s an ES module; so this is CommonJS, and imports the codec itself.
 */
const codec = import('./codec.ts')

module.exports = async (task: WorkerTask): Promise<unknown> => (await codec).default(task)
