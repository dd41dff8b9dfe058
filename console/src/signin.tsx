// Signing in, and signing in again where a session ended while the user was at work.
import { api } from './api';
import { signedIn, user } from './session';
import { Dialog, Field, Form } from './ui/kit';

export async function signIn(email: string, password: string) {
  signedIn(await api.logIn({ email, password }));
}

export function SignInAgain() {
  const email = user.value?.email ?? '';
  return (
    <Dialog title="Sign in again" close={() => undefined} fixed>
      <p>Your session has ended. What you entered is still here, and goes on once you are signed in.</p>
      <Form submit="Sign in" send={({ password = '' }) => signIn(email, password)} aside={<a class="button plain" href="/sign-in" onClick={leave}>Leave instead</a>}>
        {() => (
          <>
            <Field label="E-mail" name="email" type="email" autocomplete="username" value={email} readOnly />
            <Field label="Password" name="password" type="password" autocomplete="current-password" required autofocus />
          </>
        )}
      </Form>
    </Dialog>
  );
}

// leave loads the page anew: nothing of the ended session stays in memory.
function leave(e: MouseEvent) {
  e.preventDefault();
  location.assign('/sign-in');
}
