package api

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
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

func TestAdminsReadTheAudit(t *testing.T) {
	t.Parallel()
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
	for i := range 10 {
		err := store.AppendAudit(t.Context(), hearth.AuditEntry{
			At: now.Add(time.Duration(i-9) * time.Hour), ActorID: []string{"user:1", "device:9", "system"}[i%3], Action: "device.update",
			Target: fmt.Sprint("device:", i%2), Result: "ok", RequestID: fmt.Sprint("r", i),
			Changes: map[string]hearth.Change{"name": {Before: "a", After: "b"}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	a, err := New(Options{
		Admin: admin.Services{
			Audit: audit.New(store, nil, 0),
		},
		Serving: rest.Options{
			Users: resttest.Tokens{"ann": {UserID: "1", Role: hearth.RoleUser}, "root": {UserID: "2", Role: hearth.RoleAdmin}}, Clock: func() time.Time { return now },
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string][]int{
		"":                           {9, 8, 7, 6, 5, 4, 3, 2, 1, 0},
		"?actor_id=1":                {9, 6, 3, 0},
		"?actor_id=user:1":           {9, 6, 3, 0},
		"?actor_id=device:9":         {7, 4, 1},
		"?actor_id=system":           {8, 5, 2},
		"?action=device.delete":      {},
		"?target=device:1":           {9, 7, 5, 3, 1},
		"?range=2h":                  {9, 8, 7},
		"?from=2026-03-01T10:30:00Z": {9, 8},
		"?to=2026-03-01T05:00:00Z":   {1, 0},
		"?from=2026-03-01T05:00:00Z&to=2026-03-01T06:00:00Z&target=device:0": {2},
		"?actor_id=%27%20OR%201=1": {},
	} {
		w := resttest.Call{Method: "GET", Path: "/api/v1/admin/audit" + query, Token: "root"}.Do(t, a)
		var list struct {
			Items []admin.AuditEntry `json:"items"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || w.Code != 200 {
			t.Errorf("%s: %d %s %v", query, w.Code, w.Body, err)
			continue
		}
		got := []int{}
		for _, item := range list.Items {
			got = append(got, int(item.Seq)-1)
			if item.Changes["name"].After != "b" || len(item.Hash) != 64 {
				t.Errorf("%s: an entry is not whole: %+v", query, item)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	var seen, cursor = 0, ""
	for {
		w := resttest.Call{Method: "GET", Path: "/api/v1/admin/audit?limit=3&fields=seq,action&count=true&cursor=" + cursor, Token: "root"}.Do(t, a)
		var list struct {
			Items      []map[string]any `json:"items"`
			NextCursor *string          `json:"next_cursor"`
			Total      int              `json:"total"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || list.Total != 10 || len(list.Items[0]) != 2 {
			t.Fatalf("%d %s %v", w.Code, w.Body, err)
		}
		if seen += len(list.Items); list.NextCursor == nil {
			break
		}
		cursor = *list.NextCursor
	}
	if seen != 10 {
		t.Errorf("%d entries on all pages, want 10", seen)
	}
	for query, code := range map[string]hearth.Code{
		"?cursor=x": hearth.CodeValidationFailed, "?range=0h": hearth.CodeValidationFailed, "?from=x": hearth.CodeValidationFailed,
		"?range=1h&from=2026-03-01T05:00:00Z": hearth.CodeValidationFailed, "?fields=secret": hearth.CodeValidationFailed,
	} {
		if p := resttest.ProblemIn(t, resttest.Call{Method: "GET", Path: "/api/v1/admin/audit" + query, Token: "root"}.Do(t, a)); p.Code != code {
			t.Errorf("%s: %+v, want %s", query, p, code)
		}
	}
	if p := resttest.ProblemIn(t, resttest.Call{Method: "GET", Path: "/api/v1/admin/audit", Token: "ann"}.Do(t, a)); p.Code != hearth.CodeForbidden {
		t.Errorf("a user: %+v", p)
	}
}
