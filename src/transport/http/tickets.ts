import { TicketReply, TicketRequest } from '../../contracts/http.ts'
import { route } from '../route.ts'

export const makeTicket = route({
  method: 'POST',
  path: '/api/streaming/tickets',
  summary: 'Make a ticket that opens one path for reading, for clients that cannot set headers',
  scope: ['events:read', 'sessions:read'],
  ownOrigin: true,
  body: TicketRequest,
  replies: { 200: TicketReply },
  errors: ['SESSION_NOT_FOUND', 'ORIGIN_FORBIDDEN'],
  handle: ({ body }, { principal, tickets }) => tickets.issue(principal, body.resource),
})
