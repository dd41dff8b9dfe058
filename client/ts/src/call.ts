/** What can be changed of one call. */
export interface CallOptions {
  /** Ends the call, and the waits between its attempts. */
  signal?: AbortSignal
  /** A key of yours for a creation, so that it is safe to repeat also after a restart of your program. */
  idempotencyKey?: string
  /** Makes the change only where the object still has this entity tag: otherwise the code is version_mismatch. */
  ifMatch?: string
  /** Further headers, such as Range. */
  headers?: Record<string, string>
  /** Is called with the headers of the answer. */
  onHeaders?: (headers: Headers) => void
}

/** One call of an operation. */
export interface Call {
  method: string
  path: string
  query?: object
  body?: unknown
  /** Gets an Idempotency-Key. */
  creates?: boolean
  /** Needs no token. */
  public?: boolean
  /** Is answered with the Response itself. */
  raw?: boolean
  /** May be sent again where it is not known whether it had an effect. */
  repeatable?: boolean
  options?: CallOptions
}

/** Writes a path with its parameters encoded. */
export function path(parts: TemplateStringsArray, ...values: string[]): string {
  return parts.reduce((text, part, i) => text + encodeURIComponent(values[i - 1] ?? '') + part)
}

interface Page<T> {
  items: T[]
  next_cursor: string | null
}

/** Iterates over the items of pages, from a cursor on. */
export async function* pages<T>(page: (cursor: string) => Promise<Page<T>>, from = ''): AsyncGenerator<T> {
  for (let cursor: string | null = from; cursor !== null; ) {
    const answer: Page<T> = await page(cursor)
    yield* answer.items
    cursor = answer.next_cursor
  }
}

/** Returns the milliseconds to wait after a failed attempt: 250, 500, 1,000 …, spread, so that many clients do not come back at once. */
export function backoff(attempt: number): number {
  return 250 * 2 ** Math.min(attempt - 1, 7) * (0.5 + Math.random() / 2)
}

/** Waits so many milliseconds; rejects once the signal is aborted. */
export function sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason)
    const aborted = () => {
      clearTimeout(timer)
      reject(signal?.reason)
    }
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', aborted)
      resolve()
    }, milliseconds)
    signal?.addEventListener('abort', aborted, { once: true })
  })
}
