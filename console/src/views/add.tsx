// Adding a device: its name, then its token once with lines to paste, then the wait for its first reading.
import { useEffect, useState } from 'preact/hooks';
import { api, newKey } from '../api';
import { tagsOf } from '../fleet';
import { value } from '../format';
import { on } from '../live';
import type { Device, Log, LogSummary, Organization, Value } from '../types';
import { Icon } from '../ui/icons';
import { Choice, Code, CopyButton, Dialog, Field, Form, LinkButton, Select } from '../ui/kit';

interface Made { device: Device; token: string }

export function AddDevice({ close, orgs }: { close: () => void; orgs: Organization[] }) {
  const [key] = useState(newKey);
  const [org, setOrg] = useState('');
  const [made, setMade] = useState<Made | null>(null);
  if (made) return <Dialog title={`Connect ${made.device.name}`} close={close} wide><Connect {...made} /></Dialog>;
  const writable = orgs.filter((one) => one.role !== 'viewer');
  return (
    <Dialog title="Add a device" close={close}>
      <Form
        submit="Add and get its token"
        send={async ({ name = '', type, tags = '' }) => {
          const device = await api.createDevice({ name, type: type?.trim() || 'sensor', tags: tagsOf(tags), ...(org && { organization_id: org }) }, { idempotencyKey: key });
          const { token } = await api.createDeviceToken(device.id, {});
          setMade({ device, token });
        }}
      >
        {(problem) => (
          <>
            <Field label="Name" name="name" required autofocus maxLength={100} placeholder="Kitchen sensor" autocomplete="off" error={problem?.fields.name} />
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
export function Connect({ device, token }: Made) {
  const [way, setWay] = useState<string>('curl');
  const first = useFirst(device.id);
  return (
    <>
      <div class="token">
        <div><b>Token of the device</b><small class="soft">It is shown only now: copy it, or make another one later.</small><code>{token}</code></div>
        <CopyButton text={token} label="Copy token" />
      </div>
      <p>Send a reading from the device, or from this computer to try it:</p>
      <Choice label="Language" options={ways} value={way} onPick={setWay} />
      <Code text={lines(way, device.id, token)} label={`Lines for ${way}`} />
      {way === 'mqtt' && <p class="soft small">MQTT must be on: set <code>HEARTH_MQTT_ADDR</code> on the server.</p>}
      <div class={first ? 'first good' : 'first'} role="status">
        {first ? <><Icon name="check" /><span><b>It works.</b> The first reading: {first.event} = {value(first.value)}</span></> : <><span class="pulse" /><span>Waiting for the first reading …</span></>}
      </div>
      <div class="form-foot"><LinkButton look={first ? 'main' : 'quiet'} href={`/devices/${device.id}`}>Open the device</LinkButton></div>
    </>
  );
}

// useFirst waits for the device's first reading: by live events, and by asking where these are interrupted.
function useFirst(id: string) {
  const [first, setFirst] = useState<{ event: string; value: Value } | null>(null);
  useEffect(() => {
    const ask = async () => {
      const latest = await api.latestLogs(id).catch(() => null);
      if (latest?.items[0]) setFirst(latest.items[0]);
    };
    const timer = setInterval(() => void ask(), 5000);
    const off = on<Log | LogSummary>('device-log', (data) => {
      if (data.device_id !== id) return;
      if (!('latest' in data)) return setFirst(data);
      const [reading] = Object.entries(data.latest);
      if (reading) setFirst({ event: reading[0], value: reading[1].value });
    });
    return () => { clearInterval(timer); off(); };
  }, [id]);
  return first;
}

function lines(way: string, id: string, token: string): string {
  const url = `${location.origin}/api/v1/devices/${id}/logs`;
  switch (way) {
    case 'mqtt':
      return `mosquitto_pub -h ${location.hostname} -p 1883 -q 1 \\
  -u device -P '${token}' \\
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
