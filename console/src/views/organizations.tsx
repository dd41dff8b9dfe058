// Organizations, their members and invitations.
import { useState } from 'preact/hooks';
import { api, newKey } from '../api';
import { day, words } from '../format';
import type { ViewProps } from '../lazy';
import { restart } from '../live';
import { useGet, useList } from '../load';
import { navigate } from '../router';
import { user } from '../session';
import type { Member, Organization, OrgRole } from '../types';
import { Badge, Button, Card, Confirm, Dialog, Empty, Field, Form, IconButton, LinkButton, More, Page, Select, Show, toast, useAction, Wrong } from '../ui/kit';

export function Organizations() {
  const list = useList((api) => api.listOrganizations({ limit: 200 }));
  const [adding, setAdding] = useState(false);
  const [key, setKey] = useState(newKey);
  return (
    <Page title="Organizations" actions={<Button look="main" icon="plus" onClick={() => setAdding(true)}>New organization</Button>}>
      <Card flush>
        <Show from={list}>
          {(all) => all.length === 0 ? <Empty icon="people" title="No organizations">An organization shares devices with other users: as owner, administrator, member or viewer.</Empty> : (
            <ul class="rows">
              {all.map((org) => <li key={org.id}><div><a href={`/organizations/${org.id}`}>{org.name}</a><small>since {day(org.created_at)}</small></div><Badge>{org.role}</Badge><LinkButton href={`/devices?organization_id=${org.id}`}>Devices</LinkButton></li>)}
            </ul>
          )}
        </Show>
        <More more={list.more} />
      </Card>
      {adding && (
        <Dialog title="New organization" close={() => setAdding(false)}>
          <Form submit="Make it" onFields={() => setKey(newKey())} send={async ({ name = '' }) => { const org = await api.createOrganization({ name }, { idempotencyKey: key }); restart(); navigate(`/organizations/${org.id}`); }}>
            {(problem) => <Field label="Name" name="name" required autofocus maxLength={100} autocomplete="organization" error={problem?.fields.name} />}
          </Form>
        </Dialog>
      )}
    </Page>
  );
}

const roles: OrgRole[] = ['owner', 'admin', 'member', 'viewer'];
const meaning: Record<OrgRole, string> = { owner: 'everything', admin: 'members and devices', member: 'writes devices', viewer: 'reads' };
// An administrator of the installation has no role there, and weighs more than every role.
const weight = (role: OrgRole | null) => (role ? roles.indexOf(role) : -1);

export function OneOrganization({ params: { id = '' } }: ViewProps) {
  const loaded = useGet((api) => api.getOrganization(id));
  const members = useList((api) => api.listMembers(id, { limit: 200 }));
  const [work, setWork] = useState<'invite' | 'rename' | 'delete' | null>(null);
  const org = loaded.data;
  const manages = org && (org.role === 'owner' || org.role === 'admin' || user.value?.role === 'admin');
  return (
    <Page
      title={org?.name ?? 'Organization'} back={{ href: '/organizations', text: 'Organizations' }} lead={org && <><Badge>{org.role}</Badge><a href={`/devices?organization_id=${id}`}>its devices</a></>}
      actions={manages && <><Button look="main" icon="plus" onClick={() => setWork('invite')}>Invite</Button><Button icon="edit" onClick={() => setWork('rename')}>Rename</Button></>}
    >
      <Show from={loaded}>
        {(data) => (
          <>
            <Members org={data} members={members} manages={manages === true} />
            {data.role === 'owner' && (
              <Card title="Delete this organization">
                <p class="soft">Its devices must be moved or deleted before.</p>
                <div><Button look="bad" icon="trash" onClick={() => setWork('delete')}>Delete organization</Button></div>
              </Card>
            )}
            {work === 'invite' && <Invite org={data} close={() => setWork(null)} />}
            {work === 'rename' && (
              <Dialog title="Rename" close={() => setWork(null)}>
                <Form submit="Save" send={async ({ name }) => { const now = await api.updateOrganization(id, { name }); loaded.set((before) => ({ ...before, ...now })); setWork(null); }}>
                  {(problem) => <Field label="Name" name="name" required autofocus maxLength={100} defaultValue={data.name} error={problem?.fields.name} />}
                </Form>
              </Dialog>
            )}
            {work === 'delete' && <Confirm title={`Delete ${data.name}?`} button="Delete" typed={data.name} text="Its members lose their access. This cannot be undone." close={() => setWork(null)} act={async () => { await api.deleteOrganization(id); restart(); navigate('/organizations', { replace: true }); }} />}
          </>
        )}
      </Show>
    </Page>
  );
}

function Members({ org, members, manages }: { org: Organization; members: ReturnType<typeof useList<Member>>; manages: boolean }) {
  const [leaves, setLeaves] = useState<Member | null>(null);
  const me = user.value?.id;
  const give = useAction(async (member: Member, role: OrgRole) => {
    await api.setMember(org.id, member.user_id, { role });
    members.set((all) => all.map((one) => (one.user_id === member.user_id ? { ...one, role } : one)));
    toast(`${member.name} is ${role} now`);
  });
  const grants = roles.filter((role) => weight(role) >= weight(org.role));
  return (
    <Card title="Members" flush>
      <Wrong problem={give.problem} />
      <Show from={members}>
        {(all) => (
          <ul class="rows">
            {all.map((member) => (
              <li key={member.user_id}>
                <div><span class="strong">{member.name}</span>{member.user_id === me && <span class="soft"> (you)</span>}<small>{member.email} · since {day(member.joined_at)}</small></div>
                {manages && member.user_id !== me && weight(member.role) >= weight(org.role)
                  ? <Select hidden label={`Role of ${member.name}`} value={member.role} onPick={(role) => give.run(member, role)} options={grants.map((role) => [role, words(role)] as const)} />
                  : <Badge>{member.role}</Badge>}
                {(manages || member.user_id === me) && <IconButton icon="trash" label={member.user_id === me ? 'Leave' : `Remove ${member.name}`} onClick={() => setLeaves(member)} />}
              </li>
            ))}
          </ul>
        )}
      </Show>
      <More more={members.more} />
      {leaves && (
        <Confirm
          title={leaves.user_id === me ? `Leave ${org.name}?` : `Remove ${leaves.name}?`} button={leaves.user_id === me ? 'Leave' : 'Remove'} close={() => setLeaves(null)}
          text={leaves.user_id === me ? 'You see its devices no more.' : 'The user sees the organization’s devices no more.'}
          act={async () => {
            await api.removeMember(org.id, leaves.user_id);
            if (leaves.user_id === me) { restart(); navigate('/organizations'); } else members.reload();
          }}
        />
      )}
    </Card>
  );
}

function Invite({ org, close }: { org: Organization; close: () => void }) {
  const [key, setKey] = useState(newKey);
  const [role, setRole] = useState<OrgRole>('member');
  return (
    <Dialog title={`Invite to ${org.name}`} close={close}>
      <Form
        submit="Send the invitation" onFields={() => setKey(newKey())}
        send={async ({ email = '' }) => { await api.createInvitation(org.id, { email, role }, { idempotencyKey: key }); toast(`The invitation to ${email} is on its way`); close(); }}
      >
        {(problem) => (
          <>
            <Field label="E-mail" name="email" type="email" required autofocus autocomplete="off" error={problem?.fields.email} />
            <Select label="Role" value={role} onPick={(to) => { setRole(to); setKey(newKey()); }} options={roles.filter((one) => weight(one) >= weight(org.role)).map((one) => [one, `${words(one)}: ${meaning[one]}`] as const)} />
          </>
        )}
      </Form>
    </Dialog>
  );
}
