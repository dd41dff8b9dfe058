// What users without a session see: sign in, sign up, set up, passwords, invitations.
import type { ComponentChildren } from 'preact';
import { useEffect, useState } from 'preact/hooks';
import { Refused } from '../../../client/ts/src/index';
import { api, setting, type Problem } from '../api';
import { carried, navigate, path, query } from '../router';
import { signedIn, user } from '../session';
import { signIn } from '../signin';
import { Button, Field, Form, toast, useAction, Wrong } from '../ui/kit';

const secret = carried(path.value);

const signup = setting('signup'); // who may make an account: open, invite or closed

function Sheet({ title, children }: { title: string; children: ComponentChildren }) {
  useEffect(() => { document.title = `${title} · hearth`; }, [title]);
  return <div class="card"><h1 tabIndex={-1}>{title}</h1>{children}</div>;
}

function Email({ problem, focus }: { problem?: Problem | undefined; focus?: boolean }) {
  return <Field label="E-mail" name="email" type="email" autocomplete="username" required autofocus={focus} error={problem?.fields.email} />;
}

const Password = () => <Field label="Password" name="password" type="password" autocomplete="current-password" required />;

function NewPassword({ problem, name = 'password' }: { problem: Problem | undefined; name?: string }) {
  return <Field label={name === 'password' ? 'Password' : 'New password'} name={name} type="password" autocomplete="new-password" minLength={8} maxLength={72} required hint="8 characters or more" error={problem?.fields[name]} />;
}

// target is where the user wanted to go before signing in.
function target(): string {
  const to = query.value.get('to') ?? '/';
  return to.startsWith('/') && !to.startsWith('//') && !to.startsWith('/\\') ? to : '/';
}

const enter = () => navigate(target(), { replace: true });

export function SignIn() {
  useEffect(() => { if (user.value) enter(); }, []);
  const forward = query.value.get('to') ? `?to=${encodeURIComponent(target())}` : '';
  return (
    <Sheet title="Sign in">
      {setting('setup') === 'pending' && <p class="first">This server has no administrator yet.<a href="/set-up">Make the first one</a></p>}
      <Form
        submit="Sign in" send={async ({ email = '', password = '' }) => { await signIn(email, password); enter(); }}
        aside={<a class="small" href="/forgot-password">Forgot your password?</a>}
      >
        {() => <><Email focus /><Password /></>}
      </Form>
      {signup === 'open' && <p class="small">New here? <a href={'/sign-up' + forward}>Create an account</a></p>}
    </Sheet>
  );
}

export function SignUp() {
  if (signup === 'closed') {
    return <Sheet title="Sign-up is closed"><p>Ask an administrator of this server for an account.</p><p><a href="/sign-in">Sign in</a></p></Sheet>;
  }
  if (signup === 'invite') {
    return <Sheet title="Sign-up needs an invitation"><p>Ask a member of an organization of this server for one, and open the link of its e-mail.</p><p><a href="/sign-in">Sign in</a></p></Sheet>;
  }
  return (
    <Sheet title="Create an account">
      <Form
        submit="Create the account"
        send={async ({ name = '', email = '', password = '' }) => {
          await api.signUp({ name, email, password });
          await signIn(email, password);
          enter();
        }}
      >
        {(problem) => <><Name problem={problem} /><Email problem={problem} /><NewPassword problem={problem} /></>}
      </Form>
      <p class="small">You have one? <a href="/sign-in">Sign in</a></p>
    </Sheet>
  );
}

function Name({ problem }: { problem: Problem | undefined }) {
  return <Field label="Name" name="name" autocomplete="name" required maxLength={100} autofocus error={problem?.fields.name} />;
}

export function SetUp() {
  return (
    <Sheet title="Set up hearth">
      <p>You make the first administrator of this server.{!secret && <> The token is the end of the link that the server printed when it started, behind <code>/set-up#</code>.</>}</p>
      <Form
        submit="Set up"
        send={async ({ token = '', name = '', email = '', password = '' }) => {
          signedIn(await api.setUp({ token: secret || token.trim(), name, email, password }));
          navigate('/', { replace: true });
        }}
      >
        {(problem) => (
          <>
            {!secret && <Field label="Set-up token" name="token" required autocomplete="off" autofocus />}
            <Name problem={problem} /><Email problem={problem} /><NewPassword problem={problem} />
          </>
        )}
      </Form>
    </Sheet>
  );
}

export function ForgotPassword() {
  const [sent, setSent] = useState(false);
  if (sent) {
    return <Sheet title="Look into your mail"><p role="status">If there is an account with this e-mail, a message is on its way.</p><p><a href="/sign-in">Back to sign in</a></p></Sheet>;
  }
  return (
    <Sheet title="Reset your password">
      <p>You get an e-mail with a link. It works once, for an hour.</p>
      <Form submit="Send the link" send={async ({ email = '' }) => { await api.requestPasswordReset({ email }); setSent(true); }} aside={<a class="small" href="/sign-in">Back to sign in</a>}>
        {(problem) => <Email problem={problem} focus />}
      </Form>
    </Sheet>
  );
}

export function ResetPassword() {
  if (!secret) {
    return <Sheet title="Choose a new password"><p>This address is incomplete: open the link of the e-mail again, or <a href="/forgot-password">ask for a new one</a>.</p></Sheet>;
  }
  return (
    <Sheet title="Choose a new password">
      <p>All open sessions end.</p>
      <Form
        submit="Set the password"
        send={async ({ new_password = '' }) => {
          await api.confirmPasswordReset({ token: secret, new_password });
          toast('Your password is changed. Sign in with the new one.');
          navigate('/sign-in', { replace: true });
        }}
      >
        {(problem) => <NewPassword problem={problem} name="new_password" />}
      </Form>
    </Sheet>
  );
}

export function ConfirmEmail() {
  const confirm = useAction(async () => {
    await api.confirmEmail({ token: secret });
    toast('Your account has the new e-mail address.');
    location.assign('/');
  });
  if (!secret) return <Sheet title="Confirm your e-mail address"><p>This address is incomplete: open the link of the e-mail again.</p></Sheet>;
  return (
    <Sheet title="Confirm your e-mail address">
      <p>Your account gets the address that the link was sent to. You sign in with it from then on.</p>
      <Wrong problem={confirm.problem} />
      <Button look="main" busy={confirm.busy} onClick={() => confirm.run()}>Confirm</Button>
    </Sheet>
  );
}

export function Invitation() {
  const [fresh, setFresh] = useState(false);
  const join = async () => {
    await api.acceptInvitation({ token: secret });
    toast('You are a member now.');
    location.assign('/');
  };
  const accept = useAction(join);
  if (!secret) return <Sheet title="Accept the invitation"><p>This address is incomplete: open the link of the e-mail again.</p></Sheet>;
  if (user.value) {
    return (
      <Sheet title="Accept the invitation">
        <p>You are signed in as {user.value.email}. The invitation must be for this e-mail.</p>
        <Wrong problem={accept.problem} />
        <Button look="main" busy={accept.busy} onClick={() => accept.run()}>Accept</Button>
      </Sheet>
    );
  }
  if (!fresh) {
    return (
      <Sheet title="Accept the invitation">
        <p>Sign in with the e-mail that was invited.</p>
        <Form submit="Sign in and accept" send={async ({ email = '', password = '' }) => { await signIn(email, password); await join(); }}>
          {() => <><Email focus /><Password /></>}
        </Form>
        <Button look="plain" onClick={() => setFresh(true)}>I have no account yet</Button>
      </Sheet>
    );
  }
  return (
    <Sheet title="Create an account">
      <Form
        submit="Create the account and accept"
        send={async ({ name = '', email = '', password = '' }) => {
          await api.signUp({ name, email, password, invitation_token: secret }).catch((e: unknown) => {
            if (!(e instanceof Refused && e.code === 'email_taken')) throw e; // a second attempt, after the first failed half way
          });
          await signIn(email, password);
          await join();
        }}
      >
        {(problem) => <><Name problem={problem} /><Email problem={problem} /><NewPassword problem={problem} /></>}
      </Form>
      <Button look="plain" onClick={() => setFresh(false)}>I have an account</Button>
    </Sheet>
  );
}
