// The claim code that hands a device over, also for a phone's camera.
import { useState } from 'preact/hooks';
import { api, newKey } from '../api';
import { clock } from '../format';
import type { Device } from '../types';
import { Button, Card, Code, Dialog, useAction, Wrong } from '../ui/kit';
import { QR } from '../ui/qr';

export function HandOver({ device }: { device: Device }) {
  const [made, setMade] = useState<{ code: string; expires_at: string } | null>(null);
  const make = useAction(async () => setMade(await api.createClaimCode(device.id, { idempotencyKey: newKey() })));
  const link = `${location.origin}/claim#${made?.code ?? ''}`;
  return (
    <Card title="Hand over">
      <p class="soft">A claim code makes the device another user’s: once, within 15 minutes. Tokens that were made by hand end then.</p>
      <Wrong problem={make.problem} />
      <div><Button icon="key" busy={make.busy} onClick={() => make.run()}>Make a claim code</Button></div>
      {made && (
        <Dialog title={`Hand over ${device.name}`} close={() => setMade(null)}>
          <QR text={link} label={`The address ${link}`} />
          <Code label="Claim code" text={made.code} />
          <p class="soft small">The other user opens {location.origin}/claim, or reads the square with a phone. Valid until {clock(made.expires_at)}.</p>
        </Dialog>
      )}
    </Card>
  );
}
