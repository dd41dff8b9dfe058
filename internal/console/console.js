// The pages that letters lead to. What a server says is only ever put in as text, never as HTML.

const main = document.querySelector('main');

// Of the address, and then gone from it: neither the history nor a screenshot keeps it.
const secret = decodeURIComponent(location.hash.slice(1));
if (secret) history.replaceState(null, '', location.pathname);

let token = ''; // the access token, in this page's memory alone

class Refused extends Error {
  constructor(problem, status) {
    const details = (problem.errors ?? []).map((e) => `${e.location.replace(/^body\./, '').replaceAll('_', ' ')} ${e.message}`).join('; ');
    const text = details || problem.detail || `the server answered ${status}`;
    super(text[0].toUpperCase() + text.slice(1));
    this.status = status;
    this.code = problem.code;
  }
}

async function ask(method, path, body) {
  let answer;
  try {
    answer = await fetch('/api/v1' + path, {
      method,
      headers: { ...(token && { Authorization: `Bearer ${token}` }), ...(body && { 'Content-Type': 'application/json' }) },
      body: body && JSON.stringify(body),
    });
  } catch {
    throw new Refused({ detail: 'The server cannot be reached. Try again in a moment.' }, 0);
  }
  if (!answer.ok) throw new Refused(await answer.json().catch(() => ({})), answer.status);
  return answer;
}

const get = async (path) => (await ask('GET', path)).json();

// el makes an element of attributes (functions are listeners) and children.
function el(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') e.addEventListener(key, value);
    else if (value !== false) e.setAttribute(key, value === true ? '' : value);
  }
  e.append(...children.filter((child) => child !== null));
  return e;
}

function show(title, ...children) {
  document.title = `${title} · hearth`;
  main.replaceChildren(el('h1', { tabindex: '-1' }, title), ...children.filter((child) => child !== null));
  (main.querySelector('input') ?? main.querySelector('h1')).focus();
}

const when = (at) => (at ? new Date(at).toLocaleString() : 'never');

// form asks for fields and does something with them; what goes wrong is said beneath.
function form(fields, button, act) {
  const wrong = el('p', { class: 'wrong', role: 'alert', hidden: true });
  const send = el('button', {}, button);
  const submit = async (event) => {
    event.preventDefault();
    send.disabled = true;
    wrong.hidden = true;
    try {
      await act(Object.fromEntries(new FormData(event.target)));
    } catch (e) {
      wrong.textContent = e.message;
      wrong.hidden = false;
    }
    send.disabled = false;
  };
  return el('form', { submit },
    ...fields.map(([label, attributes]) => el('label', {}, label, el('input', { required: true, ...attributes }))), wrong, send);
}

const email = ['E-mail', { name: 'email', type: 'email', autocomplete: 'username' }];
const password = ['Password', { name: 'password', type: 'password', autocomplete: 'current-password' }];
const newPassword = ['New password (8 characters or more)', { name: 'new_password', type: 'password', autocomplete: 'new-password', minlength: 8 }];

// link goes to another of these pages and keeps the token.
const link = (path, text) => el('a', { href: path, click: (e) => { e.preventDefault(); go(path); } }, text);

async function signIn({ email, password }) {
  token = (await (await ask('POST', '/auth/login', { email, password })).json()).access_token;
}

// signedIn shows what needs an account, after asking for it where there is no token or it has run out.
async function signedIn(why, then) {
  if (token) {
    try {
      return await then();
    } catch (e) {
      if (e.status !== 401) return show('That did not work', el('p', { class: 'wrong' }, e.status === 404 ? 'There is no such thing, or it is not yours.' : e.message));
      token = '';
    }
  }
  show('Sign in', el('p', {}, why), form([email, password], 'Sign in', async (account) => {
    await signIn(account);
    await signedIn(why, then);
  }), el('p', { class: 'soft' }, link('/forgot-password', 'Forgot your password?')));
}

function resetPassword() {
  if (!secret) return show('Choose a new password', el('p', {}, 'This address is not whole: open the link of the letter again, or '), link('/forgot-password', 'ask for a new letter'));
  show('Choose a new password', form([newPassword], 'Set the password', async ({ new_password }) => {
    await ask('POST', '/auth/password-reset/confirm', { token: secret, new_password });
    token = '';
    show('Your password is changed', el('p', { class: 'done' }, 'All open sessions have ended. Sign in with the new password.'));
  }));
}

function forgotPassword() {
  show('Reset your password', el('p', {}, 'A letter with a link comes to you. The link works once, for an hour.'),
    form([email], 'Send the letter', async (body) => {
      await ask('POST', '/auth/password-reset', body);
      show('Look into your mail', el('p', { class: 'done' }, 'If there is an account with this e-mail, a letter is on its way.'));
    }));
}

function invitation() {
  if (!secret) return show('Accept the invitation', el('p', {}, 'This address is not whole: open the link of the letter again.'));
  const accept = async () => {
    await ask('POST', '/invitations/accept', { token: secret });
    show('Welcome', el('p', { class: 'done' }, 'You are a member now.'));
  };
  const signUp = () => show('Make an account',
    form([['Name', { name: 'name', autocomplete: 'name' }], email, [newPassword[0].replace('New p', 'P'), { ...newPassword[1], name: 'password' }]], 'Make the account and accept', async (account) => {
      await ask('POST', '/auth/signup', account).catch((e) => { if (e.code !== 'email_taken') throw e; });
      await signIn(account);
      await accept();
    }), el('p', { class: 'soft' }, el('a', { href: '#', click: (e) => { e.preventDefault(); known(); } }, 'I have an account')));
  const known = () => show('Accept the invitation', el('p', {}, 'Sign in with the e-mail that was invited.'),
    form([email, password], 'Sign in and accept', async (account) => { await signIn(account); await accept(); }),
    el('p', { class: 'soft' }, el('a', { href: '#', click: (e) => { e.preventDefault(); signUp(); } }, 'I have no account yet')));
  known();
}

const account = () => signedIn('To see your account.', async () => {
  const me = await get('/users/me');
  show(me.name, facts({ 'E-mail': me.email, 'Since': when(me.created_at), 'Last sign-in': when(me.last_login_at) }),
    el('p', {}, link('/account/sessions', 'Your sessions'), ' · ', link('/forgot-password', 'Reset your password')));
});

const sessions = () => signedIn('To see where you are signed in.', async () => {
  const { items } = await get('/auth/sessions');
  const row = (s) => el('li', {}, el('div', {}, s.user_agent || 'unknown program', el('div', { class: 'soft' }, `${s.ip} · last used ${when(s.last_used_at)}${s.current ? ' · this one' : ''}`)),
    s.current ? null : el('button', { class: 'quiet', click: async (e) => { e.target.disabled = true; await signedIn('', async () => { await ask('DELETE', `/auth/sessions/${s.id}`); await sessions(); }); } }, 'End'));
  show('Where you are signed in', el('ul', {}, ...items.map(row)),
    el('button', { click: () => signedIn('', async () => {
      await ask('POST', '/auth/logout-all');
      token = '';
      show('Every session has ended', el('p', { class: 'done' }, 'Devices are not concerned: their tokens are their own.'), el('p', {}, link('/forgot-password', 'Reset your password')));
    }) }, 'End all of them'));
});

const facts = (all) => el('dl', {}, ...Object.entries(all).flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, String(value))]));

const device = (id) => signedIn('To see the device.', async () => {
  const d = await get(`/devices/${id}`);
  show(d.name, facts({ Type: d.type, Status: d.status, Connection: d.connection, 'Last sign of life': when(d.last_active_at), Tags: d.tags.join(', ') || 'none' }),
    el('button', { click: () => device(id) }, 'Look again'));
});

const sizes = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(1)} GB`);

const exported = (id) => signedIn('To fetch the file.', async () => {
  const x = await get(`/exports/${id}`);
  if (x.status !== 'completed') {
    return show('Your export', facts({ Status: x.status, Records: `${x.progress.processed_records} of ${x.progress.total_records}`, ...(x.error && { Why: x.error.message }) }),
      el('progress', { max: 100, value: x.progress.percentage }), el('button', { click: () => exported(id) }, 'Look again'));
  }
  const wrong = el('p', { class: 'wrong', role: 'alert', hidden: true });
  const fetchFile = async (event) => {
    event.target.disabled = true;
    wrong.hidden = true;
    try {
      await save(`/exports/${id}/file`, x.result.file_name);
    } catch (e) {
      if (e.name !== 'AbortError') [wrong.textContent, wrong.hidden] = [e.message, false];
    }
    event.target.disabled = false;
  };
  show('Your export', facts({ File: x.result.file_name, Size: sizes(x.result.file_size), Records: x.result.record_count, 'SHA-256': x.result.sha256, 'Kept until': when(x.expires_at) }),
    wrong, el('button', { click: fetchFile }, 'Fetch the file'));
});

// save writes to the disk as it comes where the browser can; elsewhere the file is in memory first.
async function save(path, name) {
  const place = window.showSaveFilePicker && await window.showSaveFilePicker({ suggestedName: name });
  const answer = await ask('GET', path);
  if (place) return answer.body.pipeTo(await place.createWritable());
  const url = URL.createObjectURL(await answer.blob());
  el('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60000);
}

const routes = [
  [/^\/reset-password$/, resetPassword], [/^\/forgot-password$/, forgotPassword], [/^\/invitation$/, invitation],
  [/^\/account$/, account], [/^\/account\/sessions$/, sessions], [/^\/devices\/([^/]+)$/, device], [/^\/exports\/([^/]+)$/, exported],
];

function route() {
  for (const [pattern, page] of routes) {
    const found = pattern.exec(location.pathname);
    if (found) return page(found[1]);
  }
  show('There is no such page');
}

function go(path) {
  history.pushState(null, '', path);
  route();
}

addEventListener('popstate', route);
route();
