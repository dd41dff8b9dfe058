package app_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"

	"hearth/internal/apitest"
	"hearth/internal/realdata"
)

// exported orders an export and waits for its end.
func exported(t *testing.T, c *apitest.Client, order map[string]any) map[string]any {
	t.Helper()
	id := apitest.Text(c.Call(t, "POST", "/exports", order), "id")
	return ended(t, c, id)
}

// ended polls: an export's end has no other sign to a client without a stream.
func ended(t *testing.T, c *apitest.Client, id string) map[string]any {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		e := c.Call(t, "GET", "/exports/"+id, nil)
		if status := apitest.Text(e, "status"); status != "queued" && status != "running" {
			return e
		}
	}
	t.Fatalf("the export %s does not end", id)
	return nil
}

// file downloads the export's file and holds it against what the export says of it.
func file(t *testing.T, c *apitest.Client, e map[string]any) []byte {
	t.Helper()
	if apitest.Text(e, "status") != "completed" {
		t.Fatalf("the export is %v", e)
	}
	answer := c.Ask(t, "GET", "/exports/"+apitest.Text(e, "id")+"/file", nil, "Accept-Encoding", "identity")
	body := answer.Body
	sum := sha256.Sum256(body)
	result, _ := e["result"].(map[string]any)
	if answer.Status != http.StatusOK || hex.EncodeToString(sum[:]) != apitest.Text(result, "sha256") || float64(len(body)) != result["file_size"] {
		t.Fatalf("%d: %d bytes with the sum %x; the export says %v", answer.Status, len(body), sum, result)
	}
	if answer.Header.Get("Etag") != `"`+apitest.Text(result, "sha256")+`"` || !strings.Contains(answer.Header.Get("Content-Disposition"), apitest.Text(result, "file_name")) {
		t.Errorf("the file's headers are %v", answer.Header)
	}
	return body
}

func unpacked(t *testing.T, compression string, body []byte) []byte {
	t.Helper()
	var reader io.Reader = bytes.NewReader(body)
	switch compression {
	case "gzip":
		r, err := gzip.NewReader(reader)
		if err != nil {
			t.Fatal(err)
		}
		reader = r
	case "zstd":
		r, err := zstd.NewReader(reader)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		reader = r
	}
	plain, err := io.ReadAll(reader)
	if err != nil {
		t.Fatal(err)
	}
	return plain
}

// readLog is a row of an export of logs, in whatever format it came.
type readLog struct {
	Timestamp  time.Time `json:"timestamp" parquet:"timestamp,timestamp(millisecond)"`
	DeviceID   string    `json:"device_id" parquet:"device_id"`
	DeviceName string    `json:"device_name" parquet:"device_name"`
	DeviceType string    `json:"device_type" parquet:"device_type"`
	Event      string    `json:"event" parquet:"event"`
	Value      float64   `json:"value" parquet:"value"`
}

// readLogs reads an export of logs with readers that share nothing with its writers.
func readLogs(t *testing.T, format string, body []byte) (logs []readLog) {
	t.Helper()
	var err error
	switch format {
	case "csv":
		r := csv.NewReader(bytes.NewReader(body))
		header, readErr := r.Read()
		if readErr != nil || strings.Join(header, ",") != "timestamp,device_id,device_name,device_type,event,value" {
			t.Fatalf("the header is %q, %v", header, readErr)
		}
		var rows [][]string
		rows, err = r.ReadAll()
		for _, row := range rows {
			l := readLog{DeviceID: row[1], DeviceName: row[2], DeviceType: row[3], Event: row[4]}
			var atErr, valueErr error
			l.Timestamp, atErr = time.Parse("2006-01-02T15:04:05.000Z", row[0])
			l.Value, valueErr = strconv.ParseFloat(row[5], 64)
			if atErr != nil || valueErr != nil {
				t.Fatalf("the row %q: %v %v", row, atErr, valueErr)
			}
			logs = append(logs, l)
		}
	case "json":
		err = json.Unmarshal(body, &logs)
	case "ndjson":
		for line := range bytes.Lines(body) {
			var l readLog
			if err := json.Unmarshal(line, &l); err != nil {
				t.Fatalf("the line %q: %v", line, err)
			}
			logs = append(logs, l)
		}
	case "parquet":
		logs, err = parquet.Read[readLog](bytes.NewReader(body), int64(len(body)))
	}
	if err != nil {
		t.Fatal(err)
	}
	return logs
}

func TestEveryFormatHoldsEveryLogOfRealData(t *testing.T) {
	t.Parallel()
	data := realData(t, "opensmarthome")
	c, dir := data.serve(t)
	want := data.want
	compressions := map[string][]string{"csv": {"none", "gzip", "zstd"}, "json": {"none"}, "ndjson": {"zstd"}, "parquet": {"none", "zstd"}}
	made := 0
	for format, all := range compressions {
		for _, compression := range all {
			made++
			e := exported(t, c, map[string]any{"type": "logs", "format": format, "compression": compression})
			body := file(t, c, e)
			if format != "parquet" {
				body = unpacked(t, compression, body)
			}
			checkFacts(t, format+" "+compression, readLogs(t, format, body), want)
			if result, _ := e["result"].(map[string]any); result["record_count"] != float64(want.Rows) {
				t.Errorf("%s %s counts %v records", format, compression, result["record_count"])
			}
			progress, _ := e["progress"].(map[string]any)
			if progress["percentage"] != 100.0 || progress["processed_records"] != float64(want.Rows) || progress["total_records"] != float64(want.Rows) {
				t.Errorf("%s %s is at %v", format, compression, progress)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "files", "exports", "*"))
	if left, _ := filepath.Glob(filepath.Join(dir, "files", ".tmp", "*")); err != nil || len(files) != made || len(left) != 0 {
		t.Errorf("%d files, %d temporary ones, %v", len(files), len(left), err)
	}
}

// checkFacts holds the rows against what another program counted.
func checkFacts(t *testing.T, name string, logs []readLog, want realdata.Facts) {
	t.Helper()
	counts, sums, devices := map[string]int64{}, map[string]float64{}, map[string]bool{}
	last := time.Time{}
	for _, l := range logs {
		counts[l.Event]++
		sums[l.Event] += l.Value
		devices[l.DeviceName] = true
		if l.Timestamp.Before(last) {
			t.Fatalf("%s: %v comes after %v", name, l.Timestamp, last)
		}
		last = l.Timestamp
	}
	if int64(len(logs)) != want.Rows || int64(len(devices)) != want.Devices {
		t.Errorf("%s: %d rows of %d devices, want %d of %d", name, len(logs), len(devices), want.Rows, want.Devices)
		return
	}
	if first := logs[0].Timestamp; !first.Equal(want.FirstTimestamp) || !last.Equal(want.LastTimestamp) {
		t.Errorf("%s: from %v to %v", name, first, last)
	}
	for event, n := range want.RowsPerEvent {
		if counts[event] != n || !near(sums[event], want.ValuesPerEvent[event].Sum) {
			t.Errorf("%s: %s has %d rows with the sum %v, want %d, %v", name, event, counts[event], sums[event], n, want.ValuesPerEvent[event].Sum)
		}
	}
}

func TestReportsHoldTheFactsOfRealData(t *testing.T) {
	t.Parallel()
	data := realData(t, "opensmarthome")
	c, _ := data.serve(t)
	want := data.want
	for _, format := range []string{"csv", "ndjson"} {
		body := file(t, c, exported(t, c, map[string]any{"type": "usage_report", "format": format}))
		counts, sums := map[string]int64{}, map[string]float64{}
		rows := reportRows(t, format, body)
		for _, row := range rows {
			n, countErr := strconv.ParseInt(row["count"], 10, 64)
			total, totalErr := strconv.ParseFloat(row["total"], 64)
			if countErr != nil || totalErr != nil {
				t.Fatalf("the row %v", row)
			}
			counts[row["event"]] += n
			sums[row["event"]] += total
		}
		for event, n := range want.RowsPerEvent {
			if counts[event] != n || !near(sums[event], want.ValuesPerEvent[event].Sum) {
				t.Errorf("%s: %s has %d rows with the sum %v, want %d, %v", format, event, counts[event], sums[event], n, want.ValuesPerEvent[event].Sum)
			}
		}
	}
	for _, format := range []string{"csv", "ndjson"} {
		rows := reportRows(t, format, file(t, c, exported(t, c, map[string]any{"type": "device_report", "format": format})))
		counts := map[string]string{}
		for _, row := range rows {
			counts[row["device_name"]] = row["log_count"]
		}
		if int64(len(rows)) != want.Devices {
			t.Errorf("%s: %d devices, want %d", format, len(rows), want.Devices)
		}
		for _, top := range want.Top {
			if counts[top.Device] != fmt.Sprint(top.Rows) {
				t.Errorf("%s: %s has %s logs, want %d", format, top.Device, counts[top.Device], top.Rows)
			}
		}
	}
}

// reportRows returns the rows by the columns' names, values as text.
func reportRows(t *testing.T, format string, body []byte) (rows []map[string]string) {
	t.Helper()
	if format == "csv" {
		all, err := csv.NewReader(bytes.NewReader(body)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range all[1:] {
			row := map[string]string{}
			for i, name := range all[0] {
				row[name] = line[i]
			}
			rows = append(rows, row)
		}
		return rows
	}
	for line := range bytes.Lines(body) {
		object, row := map[string]json.RawMessage{}, map[string]string{}
		if err := json.Unmarshal(line, &object); err != nil {
			t.Fatal(err)
		}
		for name, value := range object {
			row[name] = strings.Trim(string(value), `"`)
		}
		rows = append(rows, row)
	}
	return rows
}
