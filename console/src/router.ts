// Where the console is: the address, and how it changes. Links are plain anchors; a click that the browser would follow in this tab is
// followed here instead.
import { computed, signal } from '@preact/signals';

const here = () => ({ path: location.pathname.replace(/(.)\/+$/, '$1'), search: location.search });

// What the link that opened the console carries stands behind its #: no server's log gets it. It leaves the address at once, and so the
// history; a user who must sign in first still has it.
const opened = { path: here().path, secret: location.hash.slice(1) };
if (opened.secret) history.replaceState(null, '', location.pathname + location.search);

// carried returns what the link to that path carried.
export const carried = (to: string) => (to === opened.path ? opened.secret : '');

export const place = signal(here());
export const path = computed(() => place.value.path);
export const query = computed(() => new URLSearchParams(place.value.search));

// leaving asks before the place is left; a view with unsaved input sets it.
export const leaving: { ask: (() => boolean) | null } = { ask: null };

// traversed is true in a place that the user came to by the browser's back and forward.
export let traversed = false;

export function navigate(to: string, options: { replace?: boolean } = {}) {
  if (!options.replace && leaving.ask && !leaving.ask()) return;
  if (to !== location.pathname + location.search) history[options.replace ? 'replaceState' : 'pushState']({}, '', to);
  const before = place.value.path;
  traversed = false;
  place.value = here();
  if (place.value.path !== before && !options.replace) scrollTo(0, 0);
}

// setQuery changes the query of the place; values that are empty leave it. The step is one of its own only if push is set.
export function setQuery(changes: Record<string, string | null>, push = false) {
  const now = new URLSearchParams(place.value.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value) now.set(name, value);
    else now.delete(name);
  }
  const text = now.toString();
  traversed = false;
  history[push ? 'pushState' : 'replaceState']({}, '', location.pathname + (text ? '?' + text : ''));
  place.value = here();
}

// notOurs are addresses of the server that are no views.
const notOurs = /^\/(docs|api|openapi|health|assets|\.well-known)(\/|\.|$)/;

export function follow() {
  addEventListener('popstate', () => {
    // What the user wants to keep stays: its address is entered again behind the one that the browser went to.
    if (leaving.ask && !leaving.ask()) history.pushState({}, '', place.value.path + place.value.search);
    else {
      traversed = true;
      place.value = here();
    }
  });
  addEventListener('beforeunload', (e) => { if (leaving.ask) e.preventDefault(); });
  document.addEventListener('click', (e) => {
    if (e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
    const link = (e.target as Element).closest('a');
    if (!link || link.origin !== location.origin || link.target || link.hasAttribute('download') || notOurs.test(link.pathname)) return;
    if (link.hash && link.pathname === location.pathname) return;
    e.preventDefault();
    navigate(link.pathname + link.search);
  });
}
