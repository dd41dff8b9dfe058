// Devices from a CSV file, looked at before they are made.
import { useState } from 'preact/hooks';
import { api, asProblem, newKey, Problem } from '../api';
import { tagsOf, useOrganizations } from '../fleet';
import { count, plural } from '../format';
import { navigate } from '../router';
import { Button, Card, Code, Empty, Page, Progress, Scroll, Select, Wrong, toast, useAction } from '../ui/kit';

interface Row { line: number; name: string; type: string; serial?: string; tags?: string[]; wrong?: string }

const most = 10_000;
const batch = 1000;
const read = ['name', 'type', 'serial', 'tags'];

// decode reads a file as text: UTF-8, UTF-16 with its mark, or else what spreadsheets on Windows write.
function decode(bytes: ArrayBuffer): string {
  const [a, b] = new Uint8Array(bytes);
  if ((a === 0xff && b === 0xfe) || (a === 0xfe && b === 0xff)) return new TextDecoder(a === 0xff ? 'utf-16le' : 'utf-16be').decode(bytes);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder('windows-1252').decode(bytes);
  }
}

// parse reads CSV as RFC 4180 and spreadsheets write it, with the line that each row begins in; the separator is the one that the first line has
// most of.
function parse(text: string): { line: number; cells: string[] }[] {
  const head = text.slice(0, text.search(/[\r\n]|$/));
  const separator = [',', ';', '\t'].sort((a, b) => head.split(b).length - head.split(a).length)[0] ?? ',';
  const rows: { line: number; cells: string[] }[] = [];
  let [cells, cell, quoted, line, begun] = [[] as string[], '', false, 1, 1];
  const end = () => {
    rows.push({ line: begun, cells: [...cells, cell] });
    [cells, cell, begun] = [[], '', line];
  };
  for (let i = 0; i < text.length; i++) {
    let c = text[i] ?? '';
    if (c === '\r') { // a line ends with CR LF, LF or CR
      if (text[i + 1] === '\n') continue;
      c = '\n';
    }
    if (c === '\n') line++;
    if (quoted) {
      if (c !== '"') cell += c;
      else if (text[i + 1] === '"') { cell += '"'; i++; } else quoted = false;
    } else if (c === '"' && cell === '') quoted = true;
    else if (c === separator) { cells.push(cell); cell = ''; } else if (c === '\n') end(); else cell += c;
  }
  if (cell || cells.length) end();
  return rows.filter((row) => row.cells.some((text) => text.trim()));
}

// devicesOf reads the devices of a file by the names of its columns. Those that cannot be made say why.
function devicesOf(text: string): { rows: Row[]; unread: string[] } {
  const [head, ...lines] = parse(text.replace(/^\ufeff/, ''));
  const columns = (head?.cells ?? []).map((name) => name.trim().toLowerCase());
  const at = (name: string) => columns.indexOf(name);
  if (text.includes('\0')) throw new Problem(-1, 'This is not a CSV file. Save the table as CSV in your spreadsheet program');
  if (at('name') < 0) throw new Problem(-1, 'The first line must name the columns, and one of them must be name');
  if (lines.length > most) throw new Problem(-1, `The file has ${count(lines.length)} devices; at most ${count(most)} are read`);
  const serials = new Map<string, number>();
  const rows = lines.map(({ line, cells }): Row => {
    const get = (name: string) => (at(name) < 0 ? '' : cells[at(name)]?.trim() ?? '');
    const [name, type, serial, tags] = [get('name'), get('type') || 'sensor', get('serial'), tagsOf(get('tags').replaceAll(';', ','))];
    const before = serial && serials.get(serial);
    if (serial && !before) serials.set(serial, line);
    const wrong = !name ? 'it has no name' : long(name, 200) ? 'the name has more than 200 characters' : long(type, 64) ? 'the type has more than 64 characters'
      : serial && !/^[\w.:@() -]{1,64}$/.test(serial) ? 'a serial number is 1 to 64 letters of A to Z, digits, spaces and _.:@()-' : tags.length > 50 ? 'it has more than 50 tags'
      : tags.some((tag) => long(tag, 64)) ? 'a tag has more than 64 characters' : before ? `the serial number is that of line ${before}` : '';
    return { line, name, type, ...(serial && { serial }), ...(tags.length > 0 && { tags }), ...(wrong && { wrong }) };
  });
  return { rows, unread: columns.filter((name) => name && !read.includes(name)) };
}

const long = (text: string, most: number) => [...text].length > most;

export function Import() {
  const [file, setFile] = useState<ReturnType<typeof devicesOf> | null>(null);
  const [org, setOrg] = useState('');
  const [done, setDone] = useState(0);
  const [keys, setKeys] = useState<string[]>([]);
  const orgs = useOrganizations().filter((one) => one.role !== 'viewer');
  const open = useAction(async (chosen: File) => {
    setFile(null);
    make.clear();
    const found = devicesOf(decode(await chosen.arrayBuffer()));
    setFile(found);
    setDone(0);
    setKeys(Array.from({ length: Math.ceil(found.rows.length / batch) }, newKey));
  });
  const wrong = file?.rows.filter((row) => row.wrong) ?? [];
  const good = file?.rows.filter((row) => !row.wrong) ?? [];
  const make = useAction(async () => {
    for (let i = done; i < good.length; i += batch) {
      const part = good.slice(i, i + batch);
      const items = part.map(({ name, type, serial, tags }) => ({ name, type, serial, tags, ...(org && { organization_id: org }) }));
      try {
        await api.createDevices({ items }, { idempotencyKey: keys[i / batch] ?? newKey() });
      } catch (e) {
        throw inLines(e, part);
      }
      setDone(i + items.length);
    }
    toast(`${plural(good.length, 'device')} made`);
    navigate('/devices');
  });
  return (
    <Page title="Import devices" back={{ href: '/devices', text: 'Devices' }} lead="From a CSV file. You see them before they are made.">
      <Card title="File">
        <input
          type="file" accept=".csv,.txt,.tsv,text/csv,text/plain" aria-label="CSV file"
          onClick={(e) => { e.currentTarget.value = ''; /* so that the same file can be read again */ }}
          onChange={(e) => { const chosen = e.currentTarget.files?.[0]; if (chosen) open.run(chosen); }}
        />
        <Wrong problem={open.problem} />
        <p class="soft small">The first line names the columns: name, and where you have them type, serial and tags. Commas, semicolons or tabs separate them.</p>
        <Code label="Example" text={'name,type,serial,tags\nKitchen sensor,sensor,SN-0001,"kitchen, ground floor"\nHall lamp,lamp,SN-0002,hall'} />
      </Card>
      {file && (file.rows.length === 0 ? <Card><Empty title="The file has no devices">It has a line of names, but none below it.</Empty></Card> : (
        <Card title={plural(file.rows.length, 'device')} flush>
          {file.unread.length > 0 && <p class="soft small pad">Not read: {file.unread.slice(0, 10).join(', ')}{file.unread.length > 10 && ` and ${plural(file.unread.length - 10, 'more column')}`}</p>}
          {wrong.length > 0 && (
            <div class="pad" role="alert">
              <p class="bad strong">{plural(wrong.length, 'line')} cannot be imported and {wrong.length === 1 ? 'is' : 'are'} left out:</p>
              <ul>{wrong.slice(0, 10).map((row) => <li key={row.line} class="small">Line {row.line}: {row.wrong}</li>)}</ul>
              {wrong.length > 10 && <p class="soft small">and {plural(wrong.length - 10, 'more', 'more')}</p>}
            </div>
          )}
          <Scroll label="Devices of the file">
            <table class="table">
              <thead><tr><th scope="col" class="right">Line</th><th scope="col">Name</th><th scope="col">Type</th><th scope="col">Serial number</th><th scope="col">Tags</th></tr></thead>
              <tbody>{good.slice(0, 20).map((row) => <tr key={row.line}><td class="right soft num">{row.line}</td><td>{row.name}</td><td>{row.type}</td><td class="mono">{row.serial}</td><td>{row.tags?.join(', ')}</td></tr>)}</tbody>
            </table>
          </Scroll>
          {good.length > 20 && <p class="soft pad">and {plural(good.length - 20, 'more', 'more')}</p>}
          <div class="pad form">
            {orgs.length > 0 && <Select label="Belong to" value={org} onPick={setOrg} options={[['', 'You'], ...orgs.map((one) => [one.id, one.name] as const)]} />}
            <Wrong problem={make.problem} />
            {make.busy && <Progress label="Devices made" value={(done / good.length) * 100} />}
            {good.length > 0 && <div><Button look="main" busy={make.busy} onClick={() => make.run()}>Make {done > 0 ? `the other ${plural(good.length - done, 'device')}` : plural(good.length, 'device')}</Button></div>}
          </div>
        </Card>
      ))}
    </Page>
  );
}

// inLines says in which lines of the file the server found what is wrong.
function inLines(e: unknown, part: Row[]): Problem {
  const problem = asProblem(e);
  return new Problem(problem.status, problem.message.replace(/items\[(\d+)\]\.?(\w*)/gi, (_, i, field) => `Line ${part[Number(i)]?.line ?? '?'}${field ? ': ' + field : ''}`));
}
