// What views of devices share: the user's rights, and devices that follow their live events.
import { useEffect } from 'preact/hooks';
import { on } from './live';
import { useGet } from './load';
import { user } from './session';
import type { Device, Heartbeat, Log, LogSummary, Organization } from './types';
import type { Tone } from './ui/kit';

export const useOrganizations = () => useGet((api) => api.listOrganizations({ limit: 200 })).data?.items ?? [];

// mayEdit reports whether the user may change the device: its owner, and who may write in its organization.
export function mayEdit(device: Device, orgs: Organization[]): boolean {
  const me = user.value;
  if (!me) return false;
  if (me.role === 'admin' || (device.organization_id === null && device.owner_id === me.id)) return true;
  const role = orgs.find((org) => org.id === device.organization_id)?.role;
  return role !== undefined && role !== 'viewer';
}

// follow calls apply with what the live events change in devices, a few times a second at most.
export function useDeviceEvents(apply: (change: (device: Device) => Device | null, ids: Set<string>, fresh: Device[]) => void) {
  useEffect(() => {
    let changes = new Map<string, ((device: Device) => Device | null)[]>();
    let fresh: Device[] = [];
    let timer: ReturnType<typeof setTimeout> | undefined;
    const add = (id: string, change: (device: Device) => Device | null) => {
      changes.set(id, [...(changes.get(id)?.slice(-20) ?? []), change]);
      timer ??= setTimeout(() => {
        timer = undefined;
        const now = changes;
        const made = fresh;
        changes = new Map();
        fresh = [];
        apply((device) => {
          let out: Device | null = device;
          for (const each of now.get(device.id) ?? []) out = out && each(out);
          return out;
        }, new Set(now.keys()), made);
      }, 300);
    };
    const offs = [
      on<Device>('device-update', (device) => { fresh.push(device); add(device.id, (now) => ({ ...now, ...device, latest: now.latest })); }),
      on<{ id: string }>('device-deleted', ({ id }) => add(id, () => null)),
      on<Heartbeat>('device-heartbeat', ({ device_id, status, connection, last_active_at }) => add(device_id, (now) => ({ ...now, status, connection, last_active_at }))),
      on<Log | LogSummary>('device-log', (data) => {
        const readings = 'latest' in data ? data.latest : { [data.event]: { value: data.value, timestamp: data.timestamp } };
        add(data.device_id, (now) => ({ ...now, latest: newer(now.latest, readings) }));
      }),
    ];
    return () => { clearTimeout(timer); offs.forEach((off) => off()); };
  }, []);
}

// newer lays readings over what is known, unless they are older than it.
function newer(known: Device['latest'], readings: NonNullable<Device['latest']>): NonNullable<Device['latest']> {
  const out = { ...known };
  for (const [event, reading] of Object.entries(readings)) {
    const now = out[event];
    if (!now || now.timestamp <= reading.timestamp) out[event] = reading;
  }
  return out;
}

export const dot = (device: Pick<Device, 'connection' | 'status'>) => 'dot ' + (device.status === 'error' ? 'error' : device.connection);

export function connection(device: Pick<Device, 'connection' | 'status'>): { text: string; tone: Tone } {
  if (device.status === 'error') return { text: 'Error', tone: 'bad' };
  if (device.connection === 'online') return { text: 'Online', tone: 'good' };
  return { text: device.connection === 'never' ? 'Never seen' : 'Offline', tone: 'soft' };
}

export function tagsOf(text: string): string[] {
  return [...new Set(text.split(',').map((tag) => tag.trim()).filter(Boolean))];
}
