// Devices from a CSV file, looked at before they are made.
import { useState } from 'preact/hooks';
import { api, newKey, Problem } from '../api';
import { tagsOf, useOrganizations } from '../fleet';
import { plural } from '../format';
import { navigate } from '../router';
import { Button, Card, Code, Empty, Page, Scroll, Select, Wrong, toast, useAction } from '../ui/kit';

interface Row { name: string; type: string; serial?: string; tags?: string[] }

const most = 10_000;
const batch = 1000;

// parse reads CSV as RFC 4180 and spreadsheets write it; the separator is the one that the first line has most of.
function parse(text: string): string[][] {
  const head = text.slice(0, text.search(/\r?\n|$/));
  const separator = [',', ';', '\t'].sort((a, b) => head.split(b).length - head.split(a).length)[0] ?? ',';
  const rows: string[][] = [];
  let row: string[] = [];
  let cell = '';
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i] ?? '';
    if (quoted) {
      if (c !== '"') cell += c;
      else if (text[i + 1] === '"') { cell += '"'; i++; } else quoted = false;
    } else if (c === '"' && cell === '') quoted = true;
    else if (c === separator) { row.push(cell); cell = ''; } else if (c === '\n') { row.push(cell.replace(/\r$/, '')); rows.push(row); row = []; cell = ''; } else cell += c;
  }
  if (cell || row.length) rows.push([...row, cell]);
  return rows.filter((one) => one.some((text) => text.trim()));
}

// devicesOf reads the devices of a file by the names of its columns.
function devicesOf(text: string): Row[] {
  const [head, ...lines] = parse(text.replace(/^\ufeff/, ''));
  const columns = (head ?? []).map((name) => name.trim().toLowerCase());
  const at = (name: string) => columns.indexOf(name);
  if (at('name') < 0) throw new Problem(-1, 'The first line must name the columns, and one of them must be name');
  if (lines.length > most) throw new Problem(-1, `The file has ${lines.length} devices; at most ${most} are read`);
  return lines.map((cells, i) => {
    const get = (name: string) => (at(name) < 0 ? '' : cells[at(name)]?.trim() ?? '');
    if (!get('name')) throw new Problem(-1, `Line ${i + 2} has no name`);
    return { name: get('name'), type: get('type') || 'sensor', ...(get('serial') && { serial: get('serial') }), ...(get('tags') && { tags: tagsOf(get('tags').replaceAll(';', ',')) }) };
  });
}

export function Import() {
  const [rows, setRows] = useState<Row[] | null>(null);
  const [org, setOrg] = useState('');
  const [done, setDone] = useState(0);
  const [keys, setKeys] = useState<string[]>([]);
  const orgs = useOrganizations().filter((one) => one.role !== 'viewer');
  const read = useAction(async (file: File) => {
    setRows(null);
    const found = devicesOf(await file.text());
    setRows(found);
    setDone(0);
    setKeys(Array.from({ length: Math.ceil(found.length / batch) }, newKey));
  });
  const make = useAction(async () => {
    for (let i = done; rows && i < rows.length; i += batch) {
      const items = rows.slice(i, i + batch).map((row) => ({ ...row, ...(org && { organization_id: org }) }));
      await api.createDevices({ items }, { idempotencyKey: keys[i / batch] ?? newKey() });
      setDone(i + items.length);
    }
    toast(`${plural(rows?.length ?? 0, 'device')} made`);
    navigate('/devices');
  });
  return (
    <Page title="Import devices" back={{ href: '/devices', text: 'Devices' }} lead="From a CSV file. You see them before they are made.">
      <Card title="File">
        <input type="file" accept=".csv,text/csv,text/plain" aria-label="CSV file" onChange={(e) => { const file = e.currentTarget.files?.[0]; if (file) read.run(file); }} />
        <Wrong problem={read.problem} />
        <p class="soft small">The first line names the columns: name, and where you have them type, serial and tags.</p>
        <Code label="Example" text={'name,type,serial,tags\nKitchen sensor,sensor,SN-0001,"kitchen, ground floor"\nHall lamp,lamp,SN-0002,hall'} />
      </Card>
      {rows && (rows.length === 0 ? <Card><Empty title="The file has no devices">It has a line of names, but none below it.</Empty></Card> : (
        <Card title={plural(rows.length, 'device')} flush>
          <Scroll label="Devices of the file">
            <table class="table">
              <thead><tr><th scope="col">Name</th><th scope="col">Type</th><th scope="col">Serial number</th><th scope="col">Tags</th></tr></thead>
              <tbody>{rows.slice(0, 20).map((row, i) => <tr key={i}><td>{row.name}</td><td>{row.type}</td><td class="mono">{row.serial}</td><td>{row.tags?.join(', ')}</td></tr>)}</tbody>
            </table>
          </Scroll>
          {rows.length > 20 && <p class="soft pad">and {plural(rows.length - 20, 'more', 'more')}</p>}
          <div class="pad form">
            {orgs.length > 0 && <Select label="Belong to" value={org} onPick={setOrg} options={[['', 'You'], ...orgs.map((one) => [one.id, one.name] as const)]} />}
            <Wrong problem={make.problem} />
            <div><Button look="main" busy={make.busy} onClick={() => make.run()}>Make {plural(rows.length, 'device')}</Button></div>
          </div>
        </Card>
      ))}
    </Page>
  );
}
