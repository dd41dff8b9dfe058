// The service worker keeps the console's own files, so that it opens without the server and says so. It keeps nothing of the API.
const store = 'hearth-1';

self.addEventListener('install', () => self.skipWaiting());
self.addEventListener('activate', (event) => event.waitUntil(self.clients.claim()));

self.addEventListener('fetch', (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== 'GET' || url.origin !== location.origin) return;
  if (url.pathname.startsWith('/assets/')) event.respondWith(kept(request));
  else if (request.mode === 'navigate' && !/^\/(docs|api|openapi|health|\.well-known)/.test(url.pathname)) event.respondWith(page(request));
});

// kept answers with the file that is kept: its name changes with its content.
async function kept(request) {
  const cache = await caches.open(store);
  const found = await cache.match(request);
  if (found) return found;
  const answer = await fetch(request);
  if (answer.ok) await cache.put(request, answer.clone());
  return answer;
}

// page answers with the server's page, or with the one kept from before where the server cannot be reached.
async function page(request) {
  const cache = await caches.open(store);
  try {
    const answer = await fetch(request);
    if (answer.ok) await keepPage(cache, answer.clone());
    return answer;
  } catch (e) {
    const found = await cache.match('/');
    if (found) return found;
    throw e;
  }
}

// keepPage keeps the page and drops files that it does not load any more, a while after a new version came.
async function keepPage(cache, answer) {
  const text = await answer.clone().text();
  const before = await cache.match('/');
  if (before && (await before.text()) !== text) {
    for (const key of await cache.keys()) await cache.delete(key);
  }
  await cache.put('/', answer);
}
