// Adding a device: its name, then its token once with lines to paste, then the wait for its first reading.
import { useEffect, useState } from 'preact/hooks';
import { api, newKey, setting } from '../api';
import { tagsOf } from '../fleet';
import { value } from '../format';
import { on } from '../live';
import type { Device, Log, LogSummary, NewDeviceToken, Organization, Value } from '../types';
import { Icon } from '../ui/icons';
import { Choice, Code, CopyButton, Dialog, Field, Form, Select } from '../ui/kit';

interface Made { device: Device; token: NewDeviceToken }

export function AddDevice({ close, orgs }: { close: () => void; orgs: Organization[] }) {
  const [key, setKey] = useState(newKey);
  const [org, setOrg] = useState('');
  const [made, setMade] = useState<Made | null>(null);
  if (made) return <Dialog title={`Connect ${made.device.name}`} close={close} wide><Connect {...made} leave={close} /></Dialog>;
  const writable = orgs.filter((one) => one.role !== 'viewer');
  return (
    <Dialog title="Add a device" close={close}>
      <Form
        submit="Add and get its token" onFields={() => setKey(newKey())}
        send={async ({ name = '', type, tags = '' }) => {
          const device = await api.createDevice({ name, type: type?.trim() || 'sensor', tags: tagsOf(tags), ...(org && { organization_id: org }) }, { idempotencyKey: key });
          setMade({ device, token: await api.createDeviceToken(device.id, {}) });
        }}
      >
        {(problem) => (
          <>
            <Field label="Name" name="name" required autofocus maxLength={200} placeholder="Kitchen sensor" autocomplete="off" error={problem?.fields.name} />
            <Field label="Type" name="type" placeholder="sensor" maxLength={64} autocomplete="off" hint="What kind of device it is, such as sensor, plug or thermostat" error={problem?.fields.type} />
            <Field label="Tags (optional)" name="tags" placeholder="kitchen, ground floor" autocomplete="off" error={problem?.fields.tags} />
            {writable.length > 0 && <Select label="Belongs to" value={org} onPick={setOrg} options={[['', 'You'], ...writable.map((one) => [one.id, one.name] as const)]} />}
          </>
        )}
      </Form>
    </Dialog>
  );
}

const ways = [['curl', 'curl'], ['mqtt', 'MQTT'], ['arduino', 'Arduino'], ['go', 'Go'], ['python', 'Python']] as const;

// Connect shows how the device sends its first reading, and says when it has.
export function Connect({ device, token: { id, token }, leave }: Made & { leave: () => void }) {
  const [way, setWay] = useState<string>('curl');
  const first = useFirst(device, id);
  return (
    <>
      <div class="token">
        <div><b>Token of the device</b><small class="soft">It is shown only now: copy it, or make another one later.</small><code>{token}</code></div>
        <CopyButton text={token} label="Copy token" />
      </div>
      <p>Send a reading from the device, or from this computer to try it:</p>
      <Choice label="Language" options={ways} value={way} onPick={setWay} />
      <Code text={lines(way, device.id, token)} label={`Lines for ${way}`} />
      {way === 'mqtt' && !setting('mqtt') && !setting('mqtts') && <p class="wrong">MQTT is off on this server: it must be started with HEARTH_MQTT_ADDR=:1883.</p>}
      <div class={first ? 'first good' : 'first'} role="status">
        {first ? <><Icon name="check" /><span><b>It works.</b> The first reading: {first.event} = {value(first.value)}</span></> : <><span class="pulse" /><span>Waiting for the first reading …</span></>}
      </div>
      <div class="form-foot"><a class={first ? 'button main' : 'button quiet'} href={`/devices/${device.id}`} onClick={leave}>Open the device</a></div>
    </>
  );
}

// useFirst waits for the first reading that a device sends with a token. Where the device has reported before, with another token, its readings
// count once the new one has been used.
function useFirst(device: Device, token: string) {
  const [first, setFirst] = useState<{ event: string; value: Value } | null>(null);
  useEffect(() => {
    if (first) return;
    const ask = async () => {
      if (device.last_active_at !== null) {
        const { items } = await api.listDeviceTokens(device.id, { limit: 200 });
        if (!items.some((one) => one.id === token && one.last_used_at !== null)) return;
      }
      const latest = await api.latestLogs(device.id);
      setFirst(latest.items.sort((a, b) => b.timestamp.localeCompare(a.timestamp))[0] ?? null);
    };
    const look = () => void ask().catch(() => undefined);
    const timer = setInterval(look, 5000); // where live events are interrupted
    const off = on<Log | LogSummary>('device-log', (data) => { if (data.device_id === device.id) look(); });
    return () => { clearInterval(timer); off(); };
  }, [device.id, token, first]);
  return first;
}

function lines(way: string, id: string, token: string): string {
  const url = `${location.origin}/api/v1/devices/${id}/logs`;
  switch (way) {
    case 'mqtt':
      return `mosquitto_pub -h ${location.hostname} -p ${setting('mqtt') || setting('mqtts') || 1883} -q 1 \\
  ${!setting('mqtt') && setting('mqtts') ? '--capath /etc/ssl/certs ' : ''}-u device -P '${token}' \\
  -t t -m '{"temperature": 21.5}'`;
    case 'arduino':
      return `#include <WiFi.h>
#include <HTTPClient.h>

void setup() {
  WiFi.begin("YOUR-WIFI", "PASSWORD");
  while (WiFi.status() != WL_CONNECTED) delay(100);
}

void loop() {
  HTTPClient http;
  http.begin("${url}");
  http.addHeader("Authorization", "Bearer ${token}");
  http.addHeader("Content-Type", "application/json");
  http.POST("{\\"event\\":\\"temperature\\",\\"value\\":21.5}");
  http.end();
  delay(60000);
}`;
    case 'go':
      return `package main

import (
	"log"
	"net/http"
	"strings"
)

func main() {
	body := strings.NewReader(\`{"event":"temperature","value":21.5}\`)
	req, err := http.NewRequest("POST", "${url}", body)
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer ${token}")
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	log.Println(resp.Status)
}`;
    case 'python':
      return `import json, urllib.request

request = urllib.request.Request(
    "${url}",
    data=json.dumps({"event": "temperature", "value": 21.5}).encode(),
    headers={
        "Authorization": "Bearer ${token}",
        "Content-Type": "application/json",
    },
)
print(urllib.request.urlopen(request).read().decode())`;
    default:
      return `curl -X POST ${url} \\
  -H 'Authorization: Bearer ${token}' \\
  -H 'Content-Type: application/json' \\
  -d '{"event": "temperature", "value": 21.5}'`;
  }
}
