// The calls, with a fetch that answers as a script says.
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Client, Refused, Unreachable } from '../dist/index.js'

const json = (status, body, headers = {}) =>
  new Response(status === 204 ? null : JSON.stringify(body), { status, headers: { 'Content-Type': 'application/json', ...headers } })
const problem = (status, code, headers = {}, errors) =>
  json(status, { code, detail: 'no', errors }, { 'Content-Type': 'application/problem+json', ...headers })

/** Returns a client, and the requests that it made. */
function scripted(answer, options = { token: 'hk_test' }) {
  const requests = []
  const client = new Client('https://hearth.example/', {
    ...options,
    fetch: async (url, { method, headers, body }) => {
      const request = { method, url: String(url).replace('https://hearth.example', ''), headers, body: body && JSON.parse(body) }
      requests.push(request)
      return answer(request)
    },
  })
  return { client, requests }
}

test('a creation is repeated under one key', async () => {
  const answers = [
    () => problem(503, 'unavailable'),
    () => {
      throw new TypeError('the answer is lost')
    },
    () => json(201, { id: 'd' }),
  ]
  const { client, requests } = scripted(() => answers.shift()())
  assert.equal((await client.createDevice({ name: 'Kitchen', type: 'thermostat' })).id, 'd')
  assert.equal(requests.length, 3)
  assert.equal(new Set(requests.map((r) => r.headers.get('Idempotency-Key'))).size, 1)
  assert.match(requests[0].headers.get('Idempotency-Key'), /^[0-9a-f]{32}$/)
})

test('what is not safe is not repeated', async () => {
  const { client, requests } = scripted(() => problem(503, 'unavailable'))
  await assert.rejects(client.deleteDevice('a/b'), { code: 'unavailable', status: 503 })
  assert.deepEqual(requests.map((r) => r.url), ['/api/v1/devices/a%2Fb'])
})

test('Retry-After is honoured within the bound', async () => {
  const answers = [problem(429, 'rate_limited', { 'Retry-After': '1' }), json(204), problem(429, 'account_locked', { 'Retry-After': '900' })]
  const { client, requests } = scripted(() => answers.shift())
  const begin = Date.now()
  await client.deleteDevice('d')
  assert.ok(Date.now() - begin >= 990)
  await assert.rejects(client.deleteDevice('d'), { retryAfter: 900_000 })
  assert.equal(requests.length, 3)
})

test('errors name what is wrong', async () => {
  const { client } = scripted(() =>
    problem(422, 'validation_failed', { 'X-Request-ID': 'r-1' }, [{ location: 'body.name', message: 'is required' }]))
  await assert.rejects(client.createDevice({ name: '', type: 'x' }), (error) =>
    error instanceof Refused && error.message === '422 validation_failed: no; body.name: is required (request r-1)')
})

test('a server that is away is unreachable', async () => {
  const { client, requests } = scripted(() => Promise.reject(new TypeError('no route')), { token: 'hk_test', attempts: 2 })
  await assert.rejects(client.getMe(), Unreachable)
  assert.equal(requests.length, 2)
})

test('a call ends with its signal', async () => {
  const { client } = scripted(() => problem(429, 'rate_limited', { 'Retry-After': '20' }))
  await assert.rejects(client.getMe({}, { signal: AbortSignal.timeout(50) }), { name: 'TimeoutError' })
})

test('many calls renew a session once', async () => {
  const counts = { login: 0, refresh: 0 }
  const current = () => counts.login + counts.refresh
  const { client } = scripted(({ url, headers }) => {
    const kind = /^\/api\/v1\/auth\/(login|refresh)$/.exec(url)?.[1]
    if (kind) {
      counts[kind]++
      return json(200, { access_token: `a${current()}`, refresh_token: `r${current()}`, expires_in: 900 })
    }
    return headers.get('Authorization') === `Bearer a${current()}` ? json(200, { id: 'ann' }) : problem(401, 'token_expired')
  }, { email: 'ann@example.com', password: 'a long enough secret' })
  const many = () => Promise.all(Array.from({ length: 50 }, () => client.getMe()))
  await many()
  assert.deepEqual(counts, { login: 1, refresh: 0 })
  counts.refresh += 100
  await many()
  assert.deepEqual(counts, { login: 1, refresh: 101 })
})

test('a wrong password in a body renews nothing', async () => {
  const { client, requests } = scripted(({ url }) =>
    url.endsWith('/login') ? json(200, { access_token: 'a', refresh_token: 'r', expires_in: 900 }) : problem(401, 'invalid_credentials'),
  { email: 'ann@example.com', password: 'a long enough secret' })
  await assert.rejects(client.changePassword({ current_password: 'wrong', new_password: 'another long secret' }), { code: 'invalid_credentials' })
  assert.deepEqual(requests.map((r) => r.url), ['/api/v1/auth/login', '/api/v1/auth/password'])
})

test('a program that keeps the session is asked for each token', async () => {
  const asked = []
  const token = async (rejected) => {
    asked.push(rejected)
    return rejected ? 'new' : 'old'
  }
  const { client, requests } = scripted(({ headers }) =>
    headers.get('Authorization') === 'Bearer new' ? json(200, { id: 'ann' }) : problem(401, 'token_expired'), { token })
  assert.equal((await client.getMe()).id, 'ann')
  assert.deepEqual(asked, ['', 'old'])
  const { client: refused, requests: made } = scripted(() => problem(401, 'token_revoked'), { token })
  await assert.rejects(refused.getMe(), { code: 'token_revoked' })
  assert.deepEqual([requests.length, made.length], [2, 2])
})

test('a list is read to its end', async () => {
  const { client, requests } = scripted(({ url }) =>
    json(200, url.includes('cursor') ? { items: [{ id: 3 }], next_cursor: null } : { items: [{ id: 1 }, { id: 2 }], next_cursor: 'c&d' }))
  const ids = []
  for await (const device of client.allDevices({ limit: 2 })) ids.push(device.id)
  assert.deepEqual(ids, [1, 2, 3])
  assert.equal(requests[1].url, '/api/v1/devices?limit=2&cursor=c%26d')
})

test('a writer stores every log once', async () => {
  const stored = []
  const keys = new Set()
  let away = 1
  const { client } = scripted(({ headers, body }) => {
    const bad = body.findIndex((log) => log.event === 'bad')
    if (bad >= 0) return problem(422, 'validation_failed', {}, [{ location: `body[${bad}].value`, message: 'is wrong' }])
    if (!keys.has(headers.get('Idempotency-Key'))) stored.push(...body.map((log) => log.event))
    keys.add(headers.get('Idempotency-Key'))
    return away-- > 0 ? problem(503, 'unavailable') : json(201, { accepted: body.length }) // stored, but the answer is lost
  }, { token: 'hd_test', attempts: 1 })
  const refused = []
  const writer = client.writer({ size: 10, delay: 3_600_000, onRefused: (log) => refused.push(log.event) })
  const events = Array.from({ length: 25 }, (_, i) => (i === 13 ? 'bad' : `e${i}`))
  for (const event of events) await writer.write({ event, value: 1 })
  await writer.flush()
  assert.deepEqual(stored, events.filter((event) => event !== 'bad'))
  assert.deepEqual(refused, ['bad'])
  await assert.rejects(writer.close(), Refused)
  await assert.rejects(writer.write({ event: 'late', value: 1 }), /closed/)
})

test('a full writer waits', async () => {
  let answer
  const held = new Promise((resolve) => (answer = resolve))
  const { client } = scripted(async () => (await held, json(201, { accepted: 1 })), { token: 'hd_test' })
  const writer = client.writer({ size: 1, pending: 2 })
  const signal = AbortSignal.timeout(100)
  let written = 0
  await assert.rejects(async () => {
    for (;;) {
      await writer.write({ event: 'e', value: 1 }, signal)
      written++
    }
  }, { name: 'TimeoutError' })
  assert.equal(written, 3) // one is on its way, two wait
  answer()
  await writer.close()
})

test('events continue after a lost connection', async () => {
  const beat = (n) => `{"type":"device-heartbeat","at":"2026-03-01T12:00:00.000Z","data":{"n":${n}}}`
  const streams = [
    () => new Response(`retry: 1\n\nid: one\nevent: x\ndata: ${beat(1)}\n\nid: half\ndata: {"ty`),
    () => problem(503, 'unavailable'),
    () => new Response(`: \n\nid: two\r\ndata: {"type":"reset",\r\ndata: "at":"","data":{}}\r\n\r\nid: three\ndata: ${beat(2)}\n\n`),
    () => problem(404, 'not_found'),
  ]
  const positions = []
  const { client } = scripted(({ url }) => {
    if (url === '/api/v1/realtime/ticket') return json(201, { ticket: 't', expires_in: 30 })
    positions.push(new URLSearchParams(url.split('?')[1]).get('last_event_id'))
    return streams.shift()()
  })
  const events = []
  const states = []
  const options = { channels: ['device:d'], onOpen: () => states.push('open'), onClose: () => states.push('closed') }
  await assert.rejects(async () => {
    for await (const event of client.follow(options)) events.push([event.id, event.type, event.data.n])
  }, { code: 'not_found' })
  assert.deepEqual(events, [['one', 'device-heartbeat', 1], ['two', 'reset', undefined], ['three', 'device-heartbeat', 2]])
  assert.deepEqual(positions, [null, 'one', 'one', 'three'])
  assert.deepEqual(states, ['open', 'closed', 'open', 'closed'])
})
