package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/internal/queue"
	"hearth/internal/queue/sqlitequeue"
)

// "Exports" and "Notifications" of the contract, from outside; what the in-process tests show is not shown again. A fleet walks the
// same way in TestAFleetIsOneService.
func TestExportsAndTheirNoticesAreAsTheContractSays(t *testing.T) {
	t.Parallel()
	s := serve(t)
	walkExports(t, s)
	t.Run("and jobs can be steered by command", func(t *testing.T) {
		q, err := sqlitequeue.Open(t.Context(), sqlitequeue.Options{Path: filepath.Join(s.dir, "queue.db")})
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		steerJobs(t, q, s, func(args ...string) string { return mustRun(t, command(s.dir, args...)) })
	})
}

// object is any JSON object.
type object map[string]any

func (o object) keys() string {
	keys := make([]string, 0, len(o))
	for k := range o {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return strings.Join(keys, " ")
}

func (o object) at(keys ...string) any {
	for _, k := range keys[:len(keys)-1] {
		o, _ = o[k].(map[string]any)
	}
	return o[keys[len(keys)-1]]
}

type listOf struct {
	Items []object `json:"items"`
	Next  *string  `json:"next_cursor"`
	Total *int     `json:"total"`
}

// exported orders an export and waits for its end.
func (c *client) exported(order object) object {
	c.s.t.Helper()
	var e object
	a := c.do("POST", "/exports", order, 202)
	a.Into(c.s.t, &e)
	id, _ := e["id"].(string)
	if a.Header.Get("Location") != "/api/v1/exports/"+id || e["status"] != "queued" || e["result"] != nil || e["error"] != nil {
		c.s.t.Errorf("the order is answered with %v %s", a.Header, a.Body)
	}
	within(c.s.t, 20*time.Second, "the export ends", func() string {
		e = nil
		c.do("GET", "/exports/"+id, nil, 200).Into(c.s.t, &e)
		if e["status"] != "completed" {
			return fmt.Sprint(e["status"])
		}
		return ""
	})
	return e
}

func walkExports(t *testing.T, s *server) {
	t.Helper()
	ann, _ := s.signup("ann.exports@example.com")
	bob, _ := s.signup("bob.exports@example.com")
	device := ann.device("meter")
	ann.do("POST", "/devices/"+device+"/logs", object{"event": "e", "value": 1.5, "timestamp": "2024-02-29T12:00:00.000Z"}, 201)
	const columns = "timestamp,device_id,device_name,device_type,event,value"
	row := "2024-02-29T12:00:00.000Z," + device + ",meter,sensor,e,1.5"

	e := ann.exported(object{"type": "logs", "format": "csv", "range": "3650d", "filters": object{"device_ids": []string{device}}, "notify": true})
	const fields = "completed_at compression created_at error expires_at filters format from id progress result started_at status to type"
	if e.keys() != fields || object(e["progress"].(map[string]any)).keys() != "percentage processed_records step total_records" ||
		object(e["result"].(map[string]any)).keys() != "download_count file_name file_size record_count sha256" {
		t.Errorf("the export is %v", e)
	}
	if e.at("progress", "percentage") != 100.0 || e.at("result", "record_count") != 1.0 || e.at("result", "download_count") != 0.0 {
		t.Errorf("the export of ten years is %v", e)
	}
	id, _ := e["id"].(string)
	a := ann.do("GET", "/exports/"+id+"/file", nil, 200)
	if string(a.Body) != columns+"\r\n"+row+"\r\n" || !strings.Contains(a.Header.Get("Content-Disposition"), "attachment") {
		t.Errorf("the file is %q, %v", a.Body, a.Header)
	}
	tag := a.Header.Get("ETag")
	ann.do("GET", "/exports/"+id+"/file", nil, 304, "If-None-Match", tag)
	if part := ann.do("GET", "/exports/"+id+"/file", nil, 206, "Range", "bytes=0-8", "If-Range", tag); string(part.Body) != "timestamp" {
		t.Errorf("a part is %q", part.Body)
	}
	bob.do("GET", "/exports/"+id, nil, 404)
	bob.do("GET", "/exports/"+id+"/file", nil, 404)
	ann.do("POST", "/exports/"+id+"/cancel", nil, 409)
	asJSON := ann.exported(object{"type": "logs", "format": "json"})
	var rows []object
	ann.do("GET", "/exports/"+asJSON["id"].(string)+"/file", nil, 200).Into(t, &rows)
	if want := strings.Fields(strings.ReplaceAll(columns, ",", " ")); len(rows) != 1 || len(rows[0]) != len(want) || rows[0]["value"] != 1.5 {
		t.Errorf("the JSON is %v", rows)
	}
	report := ann.exported(object{"type": "device_report", "format": "ndjson", "compression": "zstd"})

	var list listOf
	ann.do("GET", "/exports?limit=2&count=true&fields=id", nil, 200).Into(t, &list)
	if len(list.Items) != 2 || list.Items[0]["id"] != report["id"] || len(list.Items[0]) != 1 || list.Next == nil || list.Total == nil || *list.Total != 3 {
		t.Errorf("the list is %v", list)
	}
	ann.do("GET", "/exports?status=completed&type=logs&cursor=", nil, 200).Into(t, &list)
	if len(list.Items) != 2 || list.Items[1]["id"] != id {
		t.Errorf("the filtered list is %v", list)
	}
	var stats, bobs object
	ann.do("GET", "/exports/stats", nil, 200).Into(t, &stats)
	bob.do("GET", "/exports/stats", nil, 200).Into(t, &bobs)
	if stats.keys() != "by_status bytes oldest_at total" || stats["total"] != 3.0 || stats.at("by_status", "completed") != 3.0 ||
		stats["oldest_at"] != e["created_at"] || bobs["total"] != 0.0 || bobs["oldest_at"] != nil {
		t.Errorf("the stats are %v, bob's %v", stats, bobs)
	}
	ann.do("DELETE", "/exports/"+id, nil, 204)
	ann.do("GET", "/exports/"+id+"/file", nil, 404)
	walkNotices(t, ann, bob, id)
}

func walkNotices(t *testing.T, ann, bob *client, export string) {
	t.Helper()
	var list listOf
	within(t, 10*time.Second, "three notices", func() string {
		list = listOf{}
		ann.do("GET", "/notifications?unread=true&count=true", nil, 200).Into(t, &list)
		if len(list.Items) != 3 {
			return fmt.Sprint(list)
		}
		return ""
	})
	first := list.Items[2]
	if first.keys() != "body created_at data id read_at title type" || first["type"] != "export_ready" || first.at("data", "export_id") != export ||
		first["read_at"] != nil || *list.Total != 3 {
		t.Errorf("the notice is %v of %d", first, *list.Total)
	}
	path := "/notifications/" + first["id"].(string) + "/read"
	bob.do("POST", path, nil, 404)
	var read, again object
	ann.do("POST", path, nil, 200).Into(t, &read)
	ann.do("POST", path, nil, 200).Into(t, &again)
	if read["read_at"] == nil || again["read_at"] != read["read_at"] {
		t.Errorf("read: %v, again: %v", read, again)
	}
	ann.do("POST", "/notifications/read-all", nil, 200)
	ann.do("GET", "/notifications?unread=true", nil, 200).Into(t, &list)
	if len(list.Items) != 0 {
		t.Errorf("unread are %v", list.Items)
	}
	settings := ann.do("GET", "/users/me/notification-settings", nil, 200)
	if put := ann.do("PUT", "/users/me/notification-settings", settings.Body, 200); !bytes.Equal(put.Body, settings.Body) {
		t.Errorf("the settings become %s, from %s", put.Body, settings.Body)
	}
	bob.do("PUT", "/users/me/notification-settings", object{}, 422)
}

// steerJobs lists, retries and deletes a job that is dead, by the program's commands beside the running workers.
func steerJobs(t *testing.T, q queue.Queue, worker *server, run func(args ...string) string) {
	t.Helper()
	id := queue.NewID(time.Now())
	if _, err := q.Enqueue(t.Context(), queue.Job{ID: id, Kind: "export.run", Queue: queue.Export, Payload: json.RawMessage(`{"export_id":1}`)}); err != nil {
		t.Fatal(err)
	}
	dead := func() string {
		out := run("jobs", "list", "--state", "dead", "--queue", "export")
		if !strings.Contains(out, id) || !strings.Contains(out, "export.run") || !strings.Contains(out, "read the job of an export") {
			return out
		}
		return ""
	}
	within(t, 20*time.Second, "the job is dead", dead)
	if out := run("jobs", "retry", id); !strings.Contains(out, id) || !strings.Contains(out, "export.run") {
		t.Errorf("retrying says %s", out)
	}
	within(t, 20*time.Second, "the job ran again", func() string {
		if n := strings.Count(worker.log.String(), `"msg":"a job failed","job":"`+id+`"`); n != 2 {
			return fmt.Sprint(n, " times in all")
		}
		return ""
	})
	within(t, 20*time.Second, "the job is dead again", dead)
	if out := run("jobs", "delete", id); !strings.Contains(out, "deleted") {
		t.Errorf("deleting says %s", out)
	}
	if out := run("jobs", "list"); strings.Contains(out, id) {
		t.Errorf("after the deletion there is %s", out)
	}
}

// The file of an export of logs comes back, each log as it was, and the same file adds nothing a second time.
func TestAnExportOfLogsCanBeImported(t *testing.T) {
	t.Parallel()
	s := serve(t)
	ann, _ := s.signup("ann@example.com")
	ann.sendLogs(ann.device("meter"), 12_000) // more than two batches
	ann.device("other")
	sorted := func() (lines []string) {
		e := ann.exported(object{"type": "logs", "format": "ndjson"})
		lines = strings.Split(strings.TrimSpace(string(ann.do("GET", "/exports/"+e["id"].(string)+"/file", nil, 200).Body)), "\n")
		slices.Sort(lines)
		return lines
	}
	before := sorted()
	want := before
	for _, order := range []struct {
		format, compression string
		args                []string
	}{
		{"parquet", "none", nil}, {"csv", "gzip", []string{"--device-column", "device_name", "--type-column", "device_type"}},
	} {
		e := ann.exported(object{"type": "logs", "format": order.format, "compression": order.compression, "filters": object{"events": []string{"count"}}})
		path := filepath.Join(t.TempDir(), e.at("result", "file_name").(string))
		if err := os.WriteFile(path, ann.do("GET", "/exports/"+e["id"].(string)+"/file", nil, 200).Body, 0o600); err != nil {
			t.Fatal(err)
		}
		rows := len(want)
		args := append([]string{"import", path, "--owner", "ann@example.com"}, order.args...)
		if out := mustRun(t, command(s.dir, args...)); !strings.Contains(out, fmt.Sprintf("imported %d rows", rows)) || !strings.Contains(out, "made 0 devices") {
			t.Errorf("%s: the import says %s", order.format, out)
		}
		if out := mustRun(t, command(s.dir, args...)); !strings.Contains(out, "imported 0 rows") {
			t.Errorf("%s: the second import says %s", order.format, out)
		}
		want = append(want, want...)
		slices.Sort(want)
		if got := sorted(); !slices.Equal(got, want) {
			t.Errorf("%s: there are %d logs after the import of %d, and they differ", order.format, len(got), rows)
		}
	}
}
