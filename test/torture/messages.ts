import type { FaultOrder, FaultReport } from './fault.ts'

/** What the process of a fault is told: an order first, then perhaps to stop. */
export type ToFault =
  | {
      readonly kind: 'order'
      readonly name: string
      readonly order: Omit<FaultOrder, 'signal' | 'say'>
    }
  | { readonly kind: 'stop' }

/** What it tells: lines while it works, at last its report or why there is none. */
export type FromFault =
  | { readonly kind: 'line'; readonly text: string }
  | { readonly kind: 'report'; readonly report: FaultReport }
  | { readonly kind: 'failed'; readonly message: string }
