import type { ErrorCode, Problem, ProblemField } from './api.gen.js'

/** The server cannot be reached, or its answer was lost; `cause` says why. */
export class Unreachable extends Error {
  override name = 'Unreachable'
}

/** The server refused the call. */
export class Refused extends Error {
  override name = 'Refused'
  constructor(
    /** The HTTP status. */
    readonly status: number,
    /** What went wrong, for programs; '' if a proxy answered. */
    readonly code: ErrorCode | '',
    /** What went wrong, for display. */
    readonly detail: string,
    /** Names the request in the server's log. */
    readonly requestID: string,
    /** Each wrong part of the request. */
    readonly fields: ProblemField[],
    /** The rate limit that was hit. */
    readonly limit: string,
    /** How long the server asks to wait, in milliseconds; 0 if it does not say. */
    readonly retryAfter: number,
  ) {
    const wrong = fields.map((field) => `; ${field.location}: ${field.message}`).join('')
    super(`${status} ${code}: ${detail}${wrong}${requestID && ` (request ${requestID})`}`)
  }

  /** Whether repeating the call changes nothing. */
  get permanent(): boolean {
    return this.status < 500 && this.status !== 429
  }

  /** Reads a failed answer. */
  static async of(response: Response): Promise<Refused> {
    let problem: Partial<Problem> = {}
    if (response.headers.get('Content-Type')?.startsWith('application/problem+json')) {
      // An answer that is cut off says by its status what it can.
      problem = (await response.json().catch(() => ({}))) as Partial<Problem>
    } else {
      await response.body?.cancel().catch(() => undefined)
    }
    const { code = '', detail = response.statusText, errors, limit = '' } = problem
    const requestID = response.headers.get('X-Request-ID') ?? ''
    const after = Number(response.headers.get('Retry-After')) || 0
    return new Refused(response.status, code, detail, requestID, errors ?? [], limit, Math.max(after, 0) * 1000)
  }
}
