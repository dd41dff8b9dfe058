package audited_test

import (
	"context"
	"errors"
	"testing"

	"hearth"
	"hearth/internal/audited"
)

// TestUpdateWritesWhatChanges: a change comes with its fields in the audit; nothing is written of one that changes nothing or is refused.
func TestUpdateWritesWhatChanges(t *testing.T) {
	t.Parallel()
	stored, refused := "old", errors.New("refused")
	var entries []hearth.AuditEntry
	store := func(_ context.Context, _ string, change func(string) (string, error), effects hearth.SideEffects) (string, error) {
		after, err := change(stored)
		if err != nil {
			return "", err
		}
		stored, entries = after, append(entries, effects.Audit...)
		return after, nil
	}
	changes := func(before, after string) audited.Changes {
		out := audited.Changes{}
		out.Note("text", before != after, before, after)
		return out
	}
	for _, tt := range []struct {
		to      string
		err     error
		want    string
		changed bool
		entries int
	}{{"new", nil, "new", true, 1}, {"new", nil, "new", false, 1}, {"other", refused, "", false, 1}, {"other", nil, "other", true, 2}} {
		now, changed, err := audited.Update(t.Context(), store, "id", hearth.AuditEntry{Action: "text.update"},
			func(string) (string, error) { return tt.to, tt.err }, changes)
		if now != tt.want || changed != tt.changed || !errors.Is(err, tt.err) || len(entries) != tt.entries {
			t.Errorf("%q, %v: got %q, %v, %v with %d entries", tt.to, tt.err, now, changed, err, len(entries))
		}
	}
	if got := entries[1].Changes["text"]; entries[1].Action != "text.update" || got.Before != "new" || got.After != "other" {
		t.Errorf("the audit has %+v", entries[1])
	}
}
