// The console: which view an address has, and what stands around it.
import { useEffect } from 'preact/hooks';
import { Lazy } from './lazy';
import { listen } from './live';
import { navigate, place } from './router';
import { expired, user } from './session';
import { Shell } from './shell';
import { SignInAgain } from './signin';
import { Mark } from './ui/icons';
import { Empty, LinkButton, Page, Toasts } from './ui/kit';

interface Route { pattern: RegExp; load: () => Promise<unknown>; name: string; open: boolean }

// route is a view by its address; {name} stands for one part of it. An open view is shown without a session too.
function route(address: string, load: () => Promise<unknown>, name: string, open = false): Route {
  return { pattern: new RegExp('^' + address.replace(/\{(\w+)\}/g, '(?<$1>[^/]+)') + '$'), load, name, open };
}

const access = () => import('./views/access');
const account = () => import('./views/account');
const exportViews = () => import('./views/exports');
const organizations = () => import('./views/organizations');
const admin = () => import('./views/admin');
const provisioning = () => import('./views/provisioning');
const alarms = () => import('./views/alarms');
const rules = () => import('./views/rules');
const integrations = () => import('./views/integrations');
const webhooks = () => import('./views/webhooks');

const routes = [
  route('/', () => import('./views/overview'), 'Overview'),
  route('/devices', () => import('./views/devices'), 'Devices'),
  route('/devices/{id}', () => import('./views/device'), 'Device'),
  route('/devices/{id}/{tab}', () => import('./views/device'), 'Device'),
  route('/import', () => import('./views/import'), 'Import'),
  route('/compare', () => import('./views/compare'), 'Compare'),
  route('/exports', exportViews, 'Exports'),
  route('/exports/{id}', exportViews, 'OneExport'),
  route('/notifications', () => import('./views/notifications'), 'Notifications'),
  route('/organizations', organizations, 'Organizations'),
  route('/organizations/{id}', organizations, 'OneOrganization'),
  route('/alarms', alarms, 'Alarms'),
  route('/alarms/{id}', alarms, 'OneAlarm'),
  route('/rules', rules, 'Rules'),
  route('/rules/{id}', rules, 'OneRule'),
  route('/webhooks', webhooks, 'Webhooks'),
  route('/webhooks/{id}', webhooks, 'OneWebhook'),
  route('/provisioning', provisioning, 'Provisioning'),
  route('/claim', provisioning, 'Claim'),
  route('/admin/integrations', integrations, 'Integrations'),
  route('/admin/integrations/{id}', integrations, 'OneIntegration'),
  route('/admin/users', admin, 'Users'),
  route('/admin/jobs', admin, 'Jobs'),
  route('/admin/audit', admin, 'Audit'),
  route('/admin/backups', () => import('./views/backups'), 'Backups'),
  route('/admin/server', admin, 'Server'),
  route('/account', account, 'Account'),
  route('/account/{tab}', account, 'Account'),
  route('/sign-in', access, 'SignIn', true),
  route('/sign-up', access, 'SignUp', true),
  route('/set-up', access, 'SetUp', true),
  route('/forgot-password', access, 'ForgotPassword', true),
  route('/reset-password', access, 'ResetPassword', true),
  route('/confirm-email', access, 'ConfirmEmail', true),
  route('/invitation', access, 'Invitation', true),
];

function Missing() {
  return (
    <Page title="There is no such page">
      <Empty icon="search" title="Nothing is at this address" action={<LinkButton look="main" href="/">Go to the overview</LinkButton>}>The link may be old, or mistyped.</Empty>
    </Page>
  );
}

export function App() {
  const now = place.value.path;
  const signed = user.value !== null;
  let params: Record<string, string> = {};
  const found = routes.find(({ pattern }) => {
    const match = pattern.exec(now);
    if (match) params = { ...match.groups };
    return match;
  });
  useEffect(() => { if (signed) listen(); }, [signed]);
  const toSignIn = !signed && found !== undefined && !found.open;
  useEffect(() => {
    if (toSignIn) navigate('/sign-in?to=' + encodeURIComponent(now + place.value.search), { replace: true });
  }, [toSignIn]);
  if (toSignIn) return null;
  const view = found ? <Lazy key={found.name + (params.id ?? '')} load={found.load} name={found.name} params={params} focus /> : <Missing />;
  return (
    <>
      {found?.open || !signed ? <main class="out" id="main"><a class="brand" href="/"><Mark size={32} />hearth</a>{view}</main> : <Shell>{view}</Shell>}
      {signed && expired.value && <SignInAgain />}
      <Toasts />
    </>
  );
}
