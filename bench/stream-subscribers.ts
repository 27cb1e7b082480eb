import { AskedProcess } from './asked-process.ts'
import type { SubscriberRequest, SubscriberResults } from './stream-messages.ts'

/** Subscribers of one server, in a process of their own (stream-subscribers-process.ts). */
export class Subscribers extends AskedProcess<SubscriberRequest, SubscriberResults> {
  constructor() {
    super(
      new URL('./stream-subscribers-process.js', import.meta.url),
      'the process of the subscribers',
      // Times of arrival come as the arrays that they are.
      { serialization: 'advanced' },
    )
  }
}
