package api

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"hearth"
	"hearth/internal/api/admin"
	"hearth/internal/api/rest"
	"hearth/internal/api/resttest"
	"hearth/internal/core/audit"
	"hearth/internal/store/sqlite"
	"hearth/internal/store/sqlite/sqlitetest"
)

// auditOf is an audit of so many entries, read through an API whose time is now.
func auditOf(t *testing.T, entries int, wrap func(hearth.AuditStore) hearth.AuditStore) *API {
	t.Helper()
	store, err := sqlite.Open(context.Background(), sqlite.Options{Path: sqlitetest.File(t, t.TempDir())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	all := make([]hearth.AuditEntry, entries)
	for i := range all {
		all[i] = hearth.AuditEntry{
			At: now.Add(time.Duration(i-entries) * time.Minute), ActorID: []string{"user:1", "system"}[i%2], Action: "device.update",
			Target: fmt.Sprint("device:", i), Result: "ok", UserAgent: "=cmd|' /C calc'!A0", RequestID: "a,\"b\"\nc",
			Changes: map[string]hearth.Change{"name": {Before: "@a", After: "b"}},
		}
	}
	if err := store.AppendAudit(t.Context(), all...); err != nil {
		t.Fatal(err)
	}
	a, err := New(Options{
		Admin: admin.Services{
			Audit: audit.New(wrap(store), nil, 0),
		},
		Serving: rest.Options{
			Users: resttest.Tokens{"ann": {UserID: "1", Role: hearth.RoleUser}, "root": {UserID: "2", Role: hearth.RoleAdmin}}, Clock: func() time.Time { return now },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func asItIs(s hearth.AuditStore) hearth.AuditStore { return s }

func TestTheAuditIsExportedAsCSVThatRunsNothing(t *testing.T) {
	t.Parallel()
	const entries = 450 // three pages
	a := auditOf(t, entries, asItIs)
	w := resttest.Call{Method: "GET", Path: "/api/v1/admin/audit/export", Token: "root"}.Do(t, a)
	if w.Code != 200 || w.Header().Get("Content-Type") != "text/csv; charset=utf-8" ||
		w.Header().Get("Content-Disposition") != "attachment; filename=audit-20260301T120000Z.csv" {
		t.Fatalf("%d %v", w.Code, w.Header())
	}
	rows, err := csv.NewReader(w.Body).ReadAll()
	if err != nil || len(rows) != entries+2 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if got := strings.Join(rows[0], ","); got+"\r\n" != admin.AuditHeader {
		t.Errorf("the header is %s", got)
	}
	if rows[1][3] != "audit.export" || rows[1][2] != "user:2" {
		t.Errorf("the export is not the newest entry: %q", rows[1])
	}
	for i, row := range rows[2:] {
		if row[0] != fmt.Sprint(entries-i) || row[4] != fmt.Sprint("device:", entries-i-1) || len(row[11]) != 64 {
			t.Fatalf("row %d is %q", i, row)
		}
		if row[7] != "'=cmd|' /C calc'!A0" || row[8] != "a,\"b\"\nc" || row[9] != `{"name":{"before":"@a","after":"b"}}` {
			t.Fatalf("row %d has the texts %q", i, row)
		}
	}
}

func TestTheAuditIsExportedAsNDJSONLikeTheList(t *testing.T) {
	t.Parallel()
	a := auditOf(t, 250, asItIs)
	for query, want := range map[string]int{
		"": 251, "&actor_id=1": 125, "&actor_id=system": 125, "&target=device:7": 1, "&action=audit.export": 1, "&range=30m": 31,
		"&from=2026-03-01T11:00:00Z&to=2026-03-01T11:10:00Z": 10, "&action=none": 0,
	} {
		export := resttest.Call{Method: "GET", Path: "/api/v1/admin/audit/export?format=ndjson" + query, Token: "root"}.Do(t, a)
		list := resttest.Call{Method: "GET", Path: "/api/v1/admin/audit?limit=200" + query, Token: "root"}.Do(t, a)
		var page struct {
			Items []json.RawMessage `json:"items"`
		}
		if err := json.Unmarshal(list.Body.Bytes(), &page); err != nil {
			t.Fatal(err)
		}
		lines := bytes.SplitAfter(export.Body.Bytes(), []byte("\n"))
		lines = lines[:len(lines)-1]
		if query == "" || query == "&action=audit.export" || query == "&range=30m" {
			// The exports of the other queries came in meanwhile.
			if len(lines) < want || export.Header().Get("Content-Type") != "application/x-ndjson" {
				t.Errorf("%s: %d lines, want %d, %v", query, len(lines), want, export.Header())
			}
			continue
		}
		if len(lines) != want || export.Code != 200 {
			t.Errorf("%s: %d, %d lines, want %d", query, export.Code, len(lines), want)
			continue
		}
		for i, line := range lines {
			if got := bytes.TrimSuffix(line, []byte("\n")); !bytes.Equal(got, page.Items[i]) {
				t.Fatalf("%s: line %d is\n%s\nin the list it is\n%s", query, i, got, page.Items[i])
			}
		}
	}
}

func TestAnExportOfTheAuditIsRefused(t *testing.T) {
	t.Parallel()
	a := auditOf(t, 1, asItIs)
	for query, code := range map[string]hearth.Code{
		"?format=xlsx": hearth.CodeValidationFailed, "?from=x": hearth.CodeValidationFailed, "?range=0h": hearth.CodeValidationFailed,
		"?range=1h&to=2026-03-01T05:00:00Z": hearth.CodeValidationFailed, "?actor_id=" + strings.Repeat("a", 129): hearth.CodeValidationFailed,
	} {
		if p := resttest.ProblemIn(t, resttest.Call{Method: "GET", Path: "/api/v1/admin/audit/export" + query, Token: "root"}.Do(t, a)); p.Code != code {
			t.Errorf("%s: %+v, want %s", query, p, code)
		}
	}
	if p := resttest.ProblemIn(t, resttest.Call{Method: "GET", Path: "/api/v1/admin/audit/export", Token: "ann"}.Do(t, a)); p.Code != hearth.CodeForbidden {
		t.Errorf("a user: %+v", p)
	}
	if p := resttest.ProblemIn(t, resttest.Call{Method: "GET", Path: "/api/v1/admin/audit/export"}.Do(t, a)); p.Code != hearth.CodeUnauthenticated {
		t.Errorf("nobody: %+v", p)
	}
}

// failingAudit is a store that stops working: at writing, or at reading after so many pages.
type failingAudit struct {
	hearth.AuditStore
	readOnly bool
	pages    int
}

var errGone = errors.New("the disk is gone")

func (f *failingAudit) AppendAudit(ctx context.Context, entries ...hearth.AuditEntry) error {
	if f.readOnly {
		return errGone
	}
	return f.AuditStore.AppendAudit(ctx, entries...)
}

func (f *failingAudit) Audit(
	ctx context.Context, filter hearth.AuditFilter, page hearth.Page,
) (hearth.List[hearth.AuditEntry], error) {
	if f.pages--; f.pages < 0 {
		return hearth.List[hearth.AuditEntry]{}, errGone
	}
	return f.AuditStore.Audit(ctx, filter, page)
}

func TestAnExportOfTheAuditThatFailsIsNeverTakenForWhole(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		store  failingAudit
		status int
	}{
		"it cannot be recorded":          {failingAudit{readOnly: true, pages: 99}, 500},
		"before anything is sent":        {failingAudit{pages: 0}, 500},
		"when a part is with the client": {failingAudit{pages: 2}, 200},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := auditOf(t, 1000, func(s hearth.AuditStore) hearth.AuditStore {
				tt.store.AuditStore = s
				return &tt.store
			})
			server := httptest.NewServer(a)
			defer server.Close()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/api/v1/admin/audit/export", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer root")
			resp, err := server.Client().Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if resp.StatusCode != tt.status || bytes.Contains(body, []byte("disk")) {
				t.Errorf("%d %.300s", resp.StatusCode, body)
			}
			if broken := err != nil; broken != (tt.status == 200) {
				t.Errorf("the body ends with %v after %d bytes", err, len(body))
			}
			if tt.status == 500 && resp.Header.Get("Content-Disposition") != "" {
				t.Error("a problem is offered as a file")
			}
		})
	}
}
