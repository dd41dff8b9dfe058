//go:build clients

package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// is waits until the script returns the text.
func (b *tab) is(want, script string) {
	b.t.Helper()
	within(b.t, 30*time.Second, script+" is "+want, func() string {
		if got := b.run(script); got != want {
			return "it is " + got
		}
		return ""
	})
}

// typeInto puts a text into a field, as its user does.
func (b *tab) typeInto(field, text string) {
	b.t.Helper()
	b.run(fmt.Sprintf(`(() => {
		const field = document.querySelector(%q);
		field.value = %q;
		field.dispatchEvent(new InputEvent('input', { bubbles: true }));
		return '';
	})()`, field, text))
}

// focus puts the focus on the button with the text, as the keyboard does; press leaves it where it is.
func (b *tab) focus(text string) {
	b.t.Helper()
	b.is(text, fmt.Sprintf("[...document.querySelectorAll('button')].find((one) => one.innerText.trim() === %q)?.focus(); document.activeElement.innerText.trim()", text))
}

// Whoever comes back to a long list finds it as it was: its filter, its rows and where it was scrolled to, while devices are added.
func TestTheConsoleGoesBackToWhereItWas(t *testing.T) {
	t.Parallel()
	s := serve(t, "HEARTH_RATE_LIMITS=off")
	ann, _ := s.signup("ann@example.com")
	devicesOf(t, ann)
	b := newTab(t)
	b.signIn(s.url+"/devices?type=sensor", "ann@example.com", password)
	b.reads("1,000 devices found")
	const far = 36_000 // pixels: the 600th of the rows, of which a page has 200
	within(t, 30*time.Second, "the list is scrolled", func() string {
		if y := b.run(fmt.Sprintf("scrollTo(0, %d); String(scrollY)", far)); y != strconv.Itoa(far) {
			return y
		}
		return ""
	})
	const row = "[...document.querySelectorAll('.device-name a')].find((one) => one.getBoundingClientRect().top > 200)"
	b.is("true", "String(Boolean("+row+"))")
	name := b.run(row + ".innerText")
	b.run(row + ".click(); ''")
	b.reads("No readings yet")
	b.is("0", "String(scrollY)")
	b.run("history.back(); ''")
	b.is(strconv.Itoa(far), "String(scrollY)")
	b.is(name, row+"?.innerText ?? 'nothing'")

	// One more is at the top; the rows in view stay.
	b.open(s.url + "/devices")
	b.reads("1,000 devices")
	within(t, 30*time.Second, "the list is scrolled", func() string {
		if y := b.run(fmt.Sprintf("scrollTo(0, %d); String(scrollY)", far)); y != strconv.Itoa(far) {
			return y
		}
		return ""
	})
	ann.device("A new one")
	b.reads("1,001 devices")
	b.is(strconv.Itoa(far), "String(scrollY)")
	b.run("scrollTo(0, 0); ''")
	b.reads("A new one")
}

// What a user has entered is neither lost nor laid over what others changed; the focus returns from dialogs.
func TestTheConsoleKeepsWhatIsEntered(t *testing.T) {
	t.Parallel()
	s := serve(t, "HEARTH_RATE_LIMITS=off")
	ann, _ := s.signup("ann@example.com")
	device := ann.device("Lamp")
	var old struct {
		Token string `json:"token"`
	}
	ann.do("POST", "/devices/"+device+"/tokens", nil, 201).Into(t, &old)
	lamp := &client{s: s, token: old.Token, http: s.anonymous().http}
	lamp.do("POST", "/devices/"+device+"/logs", map[string]any{"event": "power", "value": 3.5}, 201)
	b := newTab(t)
	b.signIn(s.url+"/devices/"+device, "ann@example.com", password)
	b.reads("3.5")

	// The desired state: back asks, and another user's change stays beside the own one.
	b.press("State")
	b.reads("What the device should be")
	b.run("window.asked = 0; window.confirm = () => { window.asked++; return false; }; ''")
	b.typeInto("textarea", `{"level": 3}`)
	b.reads("Undo")
	b.run("history.back(); ''")
	b.is("1", "String(window.asked)")
	b.is(`{"level": 3}`, "document.querySelector('textarea')?.value ?? ''")
	ann.do("PATCH", "/devices/"+device+"/twin/desired", map[string]any{"colour": "red"}, 200)
	b.reads("It was changed meanwhile")
	b.focus("Save")
	b.press("Save")
	b.reads("The desired state is saved")
	if twin := string(ann.do("GET", "/devices/"+device+"/twin", nil, 200).Body); !strings.Contains(twin, `"level":3`) || !strings.Contains(twin, `"colour":"red"`) {
		t.Errorf("the twin is %s", twin)
	}
	b.is("Save", "document.activeElement.innerText")

	// The settings: what was not edited stays as it is.
	b.press("Settings")
	b.reads("General")
	ann.do("PATCH", "/devices/"+device, map[string]any{"status": "error"}, 200)
	b.typeInto(`[name="tags"]`, "hall")
	b.press("Save")
	b.reads("Saved")
	if saved := string(ann.do("GET", "/devices/"+device, nil, 200).Body); !strings.Contains(saved, `"status":"error"`) || !strings.Contains(saved, `"hall"`) {
		t.Errorf("the device is %s", saved)
	}

	// Another token: what the device sends with the old one is not its first reading.
	b.focus("New token")
	b.press("New token")
	b.press("Make the token")
	b.reads("Waiting for the first reading")
	lamp.do("POST", "/devices/"+device+"/logs", map[string]any{"event": "power", "value": 4.5}, 201)
	token := b.run("document.querySelector('.token code').innerText")
	if text := b.run("document.querySelector('.first').innerText"); strings.Contains(text, "It works") {
		t.Errorf("before the token is used, the dialog says %s", text)
	}
	(&client{s: s, token: token, http: lamp.http}).do("POST", "/devices/"+device+"/logs", map[string]any{"event": "power", "value": 5.5}, 201)
	b.reads("power = 5.5")
	b.press("Close")
	b.is("New token", "document.activeElement.innerText")

	// The span that a chart shows is deleted; the other event and what is outside stay.
	ann.do("POST", "/devices/"+device+"/logs", map[string]any{"event": "power", "value": 7, "timestamp": time.Now().Add(-48 * time.Hour)}, 201)
	ann.do("POST", "/devices/"+device+"/logs", map[string]any{"event": "level", "value": 9}, 201)
	b.open(s.url + "/devices/" + device + "/charts?events=power&range=24h")
	b.reads("Every reading")
	b.press("Delete this span")
	b.press("Delete")
	b.reads("3 logs deleted")
	b.reads("No readings in this range")
	if logs := string(ann.do("GET", "/devices/"+device+"/logs", nil, 200).Body); strings.Count(logs, `"event"`) != 2 || !strings.Contains(logs, `"level"`) {
		t.Errorf("the logs are %s", logs)
	}
}

// bytesOf is a text as a JavaScript array of its bytes.
func bytesOf(text string) string {
	return strings.ReplaceAll(fmt.Sprintf("%d", []byte(text)), " ", ",")
}

// A CSV file as spreadsheets write it is shown before it is imported; what cannot be imported is named, and left out.
func TestTheConsoleImportsDevices(t *testing.T) {
	t.Parallel()
	s := serve(t, "HEARTH_RATE_LIMITS=off")
	ann, _ := s.signup("ann@example.com")
	b := newTab(t)
	b.signIn(s.url+"/import", "ann@example.com", password)
	b.reads("The first line names the columns")
	choose := func(file string) {
		t.Helper()
		b.run(`(() => {
			const input = document.querySelector('input[type=file]');
			const files = new DataTransfer();
			files.items.add(new File([new Uint8Array(` + bytesOf(file) + `)], 'devices.csv'));
			input.files = files.files;
			input.dispatchEvent(new Event('change', { bubbles: true }));
			return '';
		})()`)
	}
	choose("type,kind\na,b\n")
	b.reads("one of them must be name")
	choose("PK\x03\x04\x00\x00")
	b.reads("This is not a CSV file")
	choose("name;type;room\rK\xfcche;sensor;1\r") // of a spreadsheet in Windows' code page, with the ends of lines of old Macs
	b.reads("Küche")
	b.reads("Not read: room")
	choose("\xef\xbb\xbfName;Serial;Tags\r\nB\xc3\xa4der;SN-1;\"wet, warm\"\r\n;SN-2;\r\nHall;SN-1;\r\n\"two\nlines\";SN/4;\r\nRoof;SN-5;\r\n")
	b.reads("3 lines cannot be imported")
	b.reads("Line 3: it has no name")
	b.reads("Line 4: the serial number is that of line 2")
	b.reads("Line 5: a serial number is 1 to 64 letters")
	b.press("Make 2 devices")
	b.reads("2 devices made")
	if devices := string(ann.do("GET", "/devices", nil, 200).Body); !strings.Contains(devices, `"Bäder"`) || !strings.Contains(devices, `["wet","warm"]`) || !strings.Contains(devices, `"SN-5"`) {
		t.Errorf("the devices are %s", devices)
	}
	b.open(s.url + "/import")
	b.reads("The first line names the columns")
	choose("name,serial\nCellar,SN-9\nRoof again,SN-5\n")
	b.press("Make 2 devices")
	b.reads("Line 3: serial is the serial of another device")
}
