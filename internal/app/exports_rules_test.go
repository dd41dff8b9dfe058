package app_test

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth/internal/apitest"
)

func TestAnOrderThatMakesNoSenseIsRefusedByItsPlace(t *testing.T) {
	t.Parallel()
	url := apitest.Start(t, apitest.Unlimited(t))
	ann, bob := apitest.SignUp(t, url, "ann@example.com"), apitest.SignUp(t, url, "bob@example.com")
	own := apitest.Text(ann.Call(t, "POST", "/devices", map[string]any{"name": "a", "type": "t"}), "id")
	foreign := apitest.Text(bob.Call(t, "POST", "/devices", map[string]any{"name": "b", "type": "t"}), "id")
	for order, place := range map[string]string{
		`{"type":"logs","format":"csv","range":"24h","from":"2026-01-01T00:00:00Z"}`:                                     "body.range",
		`{"type":"logs","format":"csv","range":""}`:                                                                      "body.range",
		`{"type":"logs","format":"csv","range":"24 parsecs"}`:                                                            "body.range",
		`{"type":"logs","format":"csv","from":"2026-01-02T00:00:00Z","to":"2026-01-01T00:00:00Z"}`:                       "body.from",
		`{"type":"logs","format":"csv","to":"yesterday"}`:                                                                "body.to",
		`{"type":"logs","format":"xml"}`:                                                                                 "body.format",
		`{"type":"logs","format":"json","csv":{}}`:                                                                       "body.csv",
		`{"type":"logs","format":"csv","csv":{"separator":"|"}}`:                                                         "body.csv.separator",
		`{"type":"logs","format":"csv","csv":{"decimal":";"}}`:                                                           "body.csv.decimal",
		`{"type":"logs","format":"csv","csv":{"time_zone":"Mars/Base"}}`:                                                 "body.csv.time_zone",
		`{"type":"logs","format":"csv","csv":{"quote":"'"}}`:                                                             "body.csv.quote",
		`{"type":"users","format":"csv"}`:                                                                                "body.type",
		`{"type":"logs","format":"csv","compression":"rar"}`:                                                             "body.compression",
		`{"type":"logs","format":"csv","filters":{"events":["a b"]}}`:                                                    "body.filters.events[0]",
		`{"type":"logs","format":"csv","filters":{"device_ids":["` + own + `","` + foreign + `"]}}`:                      "body.filters.device_ids[1]",
		`{"type":"logs","format":"csv","filters":{"device_ids":["` + own + `","0195a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b"]}}`: "body.filters.device_ids[1]",
	} {
		status, answer := ann.Ask(t, "POST", "/exports", order).Text()
		if status != 422 || !strings.Contains(answer, `"`+place+`"`) {
			t.Errorf("%s: %d, want 422 that names %s: %s", order, status, place, answer)
		}
	}
	e := exported(t, ann, map[string]any{"type": "logs", "format": "csv", "from": "1016-01-01T00:00:00Z", "to": "9999-01-01T00:00:00Z", "filters": map[string]any{"device_ids": []string{own}}})
	if body := file(t, ann, e); string(body) != "timestamp,device_id,device_name,device_type,event,value\r\n" {
		t.Errorf("an export of nothing is %q", body)
	}
}

func TestAnExportHoldsWhatItsOwnerMayReadAndTheFiltersLeave(t *testing.T) {
	t.Parallel()
	url := apitest.Start(t, apitest.Unlimited(t))
	ann, bob := apitest.SignUp(t, url, "ann@example.com"), apitest.SignUp(t, url, "bob@example.com")
	formula := apitest.Text(ann.Call(t, "POST", "/devices", map[string]any{"name": "=cmd|' /C calc'!A0", "type": "a \"b\",\r\nc"}), "id")
	idle := apitest.Text(ann.Call(t, "POST", "/devices", map[string]any{"name": "idle", "type": "t", "status": "inactive"}), "id")
	foreign := apitest.Text(bob.Call(t, "POST", "/devices", map[string]any{"name": "secret", "type": "t"}), "id")
	for i, value := range []float64{0.1, -3, 1e300, 1e-7, 21.55, 123456789.123} {
		for _, event := range []string{"-first", "second"} {
			log := map[string]any{"event": event, "value": value, "timestamp": fmt.Sprintf("2026-03-01T12:00:0%d.5Z", i)}
			ann.Call(t, "POST", "/devices/"+formula+"/logs", log)
			ann.Call(t, "POST", "/devices/"+idle+"/logs", log)
			bob.Call(t, "POST", "/devices/"+foreign+"/logs", log)
		}
	}
	body := file(t, ann, exported(t, ann, map[string]any{
		"type": "logs", "format": "csv", "from": "2026-03-01T12:00:01Z", "to": "2026-03-01T12:00:05.5Z",
		"filters": map[string]any{"device_ids": []string{formula}, "events": []string{"-first"}},
	}))
	rows, err := csv.NewReader(bytes.NewReader(body)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, row := range rows[1:] {
		got = append(got, row[0]+" "+row[5])
		if row[1] != formula || row[2] != "'=cmd|' /C calc'!A0" || row[3] != "a \"b\",\nc" || row[4] != "'-first" {
			t.Errorf("the row %q", row)
		}
	}
	if want := "2026-03-01T12:00:01.500Z -3,2026-03-01T12:00:02.500Z 1e+300,2026-03-01T12:00:03.500Z 1e-07,2026-03-01T12:00:04.500Z 21.55"; strings.Join(got, ",") != want {
		t.Errorf("got %q", got)
	}
	all := readLogs(t, "json", file(t, ann, exported(t, ann, map[string]any{"type": "logs", "format": "json", "filters": nil})))
	if len(all) != 24 {
		t.Errorf("all of ann's logs are %d, want 24", len(all))
	}
	for _, l := range all {
		if l.DeviceName == "secret" {
			t.Errorf("bob's %v", l)
		}
	}
	for inactive, want := range map[bool]int{false: 1, true: 2} {
		filters := map[string]any{"include_inactive": inactive}
		devices := reportRows(t, "csv", file(t, ann, exported(t, ann, map[string]any{"type": "device_report", "format": "csv", "filters": filters})))
		usage := reportRows(t, "csv", file(t, ann, exported(t, ann, map[string]any{"type": "usage_report", "format": "csv", "filters": filters})))
		if len(devices) != want || len(usage) != 2*want {
			t.Errorf("include_inactive %v: %d devices, %d rows of usage", inactive, len(devices), len(usage))
		}
	}
}

func TestAFileIsHandedOutInPartsCountedAndGoneWithItsExport(t *testing.T) {
	t.Parallel()
	cfg := apitest.Unlimited(t)
	ann := apitest.SignUp(t, apitest.Start(t, cfg), "ann@example.com")
	id := apitest.Text(ann.Call(t, "POST", "/devices", map[string]any{"name": "a", "type": "t"}), "id")
	ann.Call(t, "POST", "/devices/"+id+"/logs", map[string]any{"event": "e", "value": 1})
	e := exported(t, ann, map[string]any{"type": "logs", "format": "ndjson"})
	path := "/exports/" + apitest.Text(e, "id")
	body := file(t, ann, e)
	tag := `"` + inner(e, "result", "sha256") + `"`
	for name, tt := range map[string]struct {
		header []string
		status int
		want   string
	}{
		"a part":         {[]string{"Range", "bytes=5-9"}, 206, string(body[5:10])},
		"from a place":   {[]string{"Range", "bytes=10-", "If-Range", tag}, 206, string(body[10:])},
		"of another one": {[]string{"Range", "bytes=10-", "If-Range", `"other"`}, 200, string(body)},
		"known":          {[]string{"If-None-Match", tag}, 304, ""},
	} {
		if status, got := ann.Ask(t, "GET", path+"/file", nil, append(tt.header, "Accept-Encoding", "identity")...).Text(); status != tt.status || got != tt.want {
			t.Errorf("%s: %d %q", name, status, got)
		}
	}
	answer := ann.Ask(t, "GET", path+"/file", nil, "Range", "bytes=999999-", "Accept-Encoding", "identity")
	if status, got := answer.Text(); status != 416 || !strings.Contains(got, `"code":"range_not_satisfiable"`) || answer.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("beyond the end: %d %s", status, got)
	}
	answer = ann.Ask(t, "HEAD", path+"/file", nil, "Accept-Encoding", "identity")
	if length := answer.Header.Get("Content-Length"); answer.Status != 200 || len(answer.Body) != 0 || length != fmt.Sprint(len(body)) {
		t.Errorf("HEAD: %d, %s bytes", answer.Status, length)
	}
	if result, _ := ann.Call(t, "GET", path, nil)["result"].(map[string]any); result["download_count"] != 2.0 {
		t.Errorf("%v downloads, want the two whole ones", result["download_count"])
	}
	if status, answer := ann.Ask(t, "POST", path+"/cancel", "").Text(); status != 409 {
		t.Errorf("cancelling what has ended: %d %s", status, answer)
	}
	if status, answer := ann.Ask(t, "DELETE", path, "").Text(); status != 204 {
		t.Errorf("deleting: %d %s", status, answer)
	}
	if files, err := filepath.Glob(filepath.Join(cfg.DataDir, "files", "exports", "*")); err != nil || len(files) != 0 {
		t.Errorf("left: %v %v", files, err)
	}
	if status, _ := ann.Ask(t, "GET", path+"/file", "").Text(); status != 404 {
		t.Errorf("the file of a deleted export: %d", status)
	}
}

func TestAnExportThatIsCancelledStopsAndLeavesNoFile(t *testing.T) {
	t.Parallel()
	c, dir := realData(t, "opensmarthome").serve(t)
	var ids []string
	var began time.Time
	cancelled := map[string]bool{}
	// On a busy machine, all may end before the first is cancelled: then others are ordered.
	for deadline := time.Now().Add(time.Minute); len(cancelled) == 0; {
		if time.Now().After(deadline) {
			t.Fatal("every export ended before it could be cancelled")
		}
		var ordered []string
		for range 8 { // five run, three wait
			ordered = append(ordered, apitest.Text(c.Call(t, "POST", "/exports", map[string]any{"type": "logs", "format": "csv", "compression": "gzip"}), "id"))
		}
		began = time.Now()
		for _, id := range ordered {
			if status, _ := c.Ask(t, "POST", "/exports/"+id+"/cancel", "").Text(); status == 200 {
				cancelled[id] = true
			}
		}
		ids = append(ids, ordered...)
	}
	// The temporary files are the sign that writing has stopped.
	for {
		left, err := filepath.Glob(filepath.Join(dir, "files", ".tmp", "*"))
		if err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			break
		}
		if time.Since(began) > 10*time.Second {
			t.Fatalf("still there: %v", left)
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Logf("%d cancelled in %v", len(cancelled), time.Since(began))
	for id := range cancelled {
		if e := c.Call(t, "GET", "/exports/"+id, nil); apitest.Text(e, "status") != "cancelled" || e["result"] != nil || e["expires_at"] == nil {
			t.Errorf("a cancelled export is %v", e)
		}
	}
	files, err := os.ReadDir(filepath.Join(dir, "files", "exports"))
	if err != nil && !os.IsNotExist(err) || len(files) != len(ids)-len(cancelled) {
		t.Errorf("%d files of %d exports that were not cancelled, %v", len(files), len(ids)-len(cancelled), err)
	}
}

func TestACSVFileIsWrittenAsItWasAskedFor(t *testing.T) {
	t.Parallel()
	url := apitest.Start(t, apitest.Unlimited(t))
	ann := apitest.SignUp(t, url, "ann@example.com")
	id := apitest.Text(ann.Call(t, "POST", "/devices", map[string]any{"name": "=1;2", "type": "t"}), "id")
	ann.Call(t, "POST", "/devices/"+id+"/logs", `{"event":"e","value":-1.5,"timestamp":"2026-07-01T22:00:00Z"}`)
	order := map[string]any{
		"type": "logs", "format": "csv", "csv": map[string]any{"separator": ";", "decimal": ",", "bom": true, "time_zone": "Europe/Berlin"},
	}
	want := "\ufefftimestamp;device_id;device_name;device_type;event;value\r\n2026-07-02T00:00:00.000+02:00;" + id + ";\"'=1;2\";t;e;-1,5\r\n"
	if body := file(t, ann, exported(t, ann, order)); string(body) != want {
		t.Errorf("the file is %q, want %q", body, want)
	}
	order["csv"] = map[string]any{"decimal": ","}
	if body := file(t, ann, exported(t, ann, order)); !strings.HasSuffix(string(body), ",e,\"-1,5\"\r\n") {
		t.Errorf("with commas for both, the file is %q", body)
	}
	order["type"], order["csv"] = "usage_report", map[string]any{"separator": "tab", "decimal": ","}
	if body := file(t, ann, exported(t, ann, order)); !strings.Contains(string(body), "\te\t1\t-1,5\t-1,5\t") {
		t.Errorf("the report is %q", body)
	}
	schedule := ann.Call(t, "POST", "/export-schedules", `{"every":"daily","type":"logs","format":"csv","csv":{"separator":"tab"}}`)
	csv, _ := schedule["csv"].(map[string]any)
	if fmt.Sprint(csv) != "map[bom:false decimal:. separator:tab time_zone:UTC]" {
		t.Errorf("the schedule has %v", schedule["csv"])
	}
	path := "/export-schedules/" + apitest.Text(schedule, "id")
	if status, body := ann.Ask(t, "PATCH", path, `{"format":"json"}`).Text(); status != 422 || !strings.Contains(body, `"body.csv"`) {
		t.Errorf("another format with csv: %d %s", status, body)
	}
	if changed := ann.Call(t, "PATCH", path, `{"format":"json","csv":null}`); changed["csv"] != nil {
		t.Errorf("cleared, it is %v", changed["csv"])
	}
}
